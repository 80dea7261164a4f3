"""Architectures as plain data, for files: [{"type": "Conv2d", "in_channels": 1, …}, …].

Reading one back runs no code but the constructors in `LAYERS` (and of the classes the caller
passes in): the names in a file are looked up, never imported.
"""

from collections.abc import Callable, Iterable
from typing import Any

from . import layers
from .layers import Layer

LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        layers.AvgPool2d, layers.BatchNorm1d, layers.BatchNorm2d, layers.Conv2d, layers.Dropout,
        layers.Dropout2d, layers.Flatten, layers.GELU, layers.GlobalAvgPool2d, layers.Identity,
        layers.LeakyReLU, layers.Linear, layers.MaxPool2d, layers.ReLU, layers.Sigmoid,
        layers.SiLU, layers.Tanh,
    )
}  # fmt: skip


DEEPEST = 16  # Sequentials within Sequentials; a file that nests deeper is not ours


def describe(layer: Layer) -> dict[str, Any]:
    """One layer as a JSON-able dict: its class name and its constructor's arguments."""
    arguments = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in layer.hyper_parameters().items()
    }
    return {"type": type(layer).__name__, **arguments}


class Maker:
    """Makes layers from descriptions.

    Parameters
    ----------
    make_chain : callable
        Makes a nested model from its layers.
    custom_layers : iterable of Layer subclasses
        Known in addition to LAYERS.
    """

    def __init__(self, make_chain: Callable[..., Layer], custom_layers: Iterable[type[Layer]] = ()):
        self.make_chain = make_chain
        self.table = LAYERS | {cls.__name__: cls for cls in custom_layers}

    def layers(self, description: Any, where: str = "architecture", depth: int = 0) -> list[Layer]:
        """The layers that a list of dicts describes.

        Raises
        ------
        ValueError
            For anything else than such a list, naming the entry (`architecture[3]`), what was
            found, and what would do.
        """
        if not isinstance(description, list) or depth > DEEPEST:
            raise ValueError(f"{where} is {description!r:.80}; expected a list of layers")
        return [self.layer(entry, f"{where}[{i}]", depth) for i, entry in enumerate(description)]

    def layer(self, entry: Any, where: str, depth: int) -> Layer:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise ValueError(
                f"{where} is {entry!r:.80}; expected a dict with a layer's name as 'type'"
            )
        name = entry["type"]
        arguments = {key: value for key, value in entry.items() if key != "type"}
        if name == "Sequential":
            inner = self.layers(arguments.get("layers"), f"{where}.layers", depth + 1)
            return self.make_chain(*inner)
        if name not in self.table:
            raise ValueError(
                f"{where} is a layer of type {name!r:.80}, which is not known here; pass its "
                f"class as custom_layers=[…], or use one of {', '.join(sorted(self.table))}"
            )
        try:
            return self.table[name](**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} ({name}): {error}") from None
