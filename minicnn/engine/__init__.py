"""The engine: whole passes of a network in one native call, many samples to a vector.

It knows maps, operations and stages, but no layers: `minicnn/lowering/` describes a model to
it. `docs/engine.md` tells how a step runs.
"""

import os

from .. import kernels  # noqa: F401  (decides how threads wait, before any are there)
from .plan import LANES, Plan, fma_probe, isa

__all__ = [
    "LANES", "Plan", "engine_enabled", "fma_probe", "isa", "set_engine", "set_winograd",
    "winograd_enabled",
]  # fmt: skip

_enabled = os.environ.get("MINICNN_ENGINE") != "0"
_winograd = os.environ.get("MINICNN_WINOGRAD") != "0"


def set_engine(enabled: bool) -> None:
    """Whether training and prediction may use the engine; without it, `minicnn.kernels` do all.

    The environment variable MINICNN_ENGINE=0 turns it off from the start.
    """
    global _enabled
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled is {enabled!r}; expected True or False")
    _enabled = enabled


def engine_enabled() -> bool:
    """Whether the engine is used for the models that it covers."""
    return _enabled


def set_winograd(enabled: bool) -> None:
    """Whether the engine may use Winograd's method for 3×3 convolutions of many channels.

    At stride 1 it takes half the time and rounds twice as much. At stride 2 it takes seven to nine
    tenths of the time; outputs round as direct sums do, weight gradients up to twice as much
    (docs/numerics.md). The environment variable MINICNN_WINOGRAD=0 turns it off from the start.

    Parameters
    ----------
    enabled : bool
        From the next pass on, in all threads.

    Raises
    ------
    TypeError
        If `enabled` is not a bool.
    """
    global _winograd
    if not isinstance(enabled, bool):
        raise TypeError(f"enabled is {enabled!r}; expected True or False")
    _winograd = enabled


def winograd_enabled() -> bool:
    """Whether the engine uses Winograd's method where it is faster."""
    return _winograd
