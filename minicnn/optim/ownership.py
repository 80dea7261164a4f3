"""Whose parameters an optimizer moves."""

from typing import Protocol

from ..layers.base import FloatArray, Parameter
from .base import Optimizer


class HasParameters(Protocol):
    """A model, as far as this file is concerned."""

    def parameters(self) -> list[Parameter]: ...


def check_owner(optimizer: Optimizer, model: HasParameters, block: FloatArray | None) -> None:
    """Refuse an optimizer that moves anything but `model`'s parameters.

    Called in every step, because a step along another model's gradients trains nothing and says
    nothing. Parameters stay in the block they are in, so after the first step this is one
    comparison. To move only some of the parameters is allowed.

    Parameters
    ----------
    block : array or None
        The flat block that holds the model's parameters; None asks anew each time.

    Raises
    ------
    ValueError
        Naming one of the parameters.
    """
    if optimizer.owner is block and block is not None:
        return
    own = {id(p) for p in model.parameters()}
    foreign = [p for p in optimizer.parameters if id(p) not in own]
    if foreign:
        raise ValueError(
            f"the optimizer moves {foreign[0]!r}, which is not this model's; make it from "
            "model.parameters() of the model that you train"
        )
    optimizer.owner = block
