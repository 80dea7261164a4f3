from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .description import Operation, Stage

LANES: int
BLOCKS: dict[str, int]
SCRATCH: dict[str, int]
CONV_OUTPUTS: int
SAMPLE_SHARES: int
TIGHT: dict[str, int]
WINNERS: dict[str, int]
ISAS: tuple[str, ...]
WINOGRAD: dict[str, int]

def isa() -> str: ...
def item_count(slots: int, slot_samples: int, together: int) -> int: ...
def fma_probe(steps: int) -> float: ...
def supported(name: str) -> bool: ...

class Plan:
    operations: list[Operation]
    timed: bool
    def __init__(
        self,
        operations: Sequence[Operation],
        forward: Sequence[Stage],
        backward: Sequence[Stage],
        step: Sequence[Stage],
        slot_floats: int,
        local_floats: int,
        slot_samples: int,
        partial_floats: int,
        input_size: int,
        output_size: int,
    ) -> None: ...
    def set_dropout(self, index: int, p: float, seed: int, step: int, stream: int) -> None: ...
    def set_batchnorm(self, index: int, momentum: float, eps: float) -> None: ...
    def reserve(self, slots: int) -> None: ...
    def forward(self, x: NDArray[np.float32], y: NDArray[np.float32], threads: int) -> None: ...
    def backward(
        self, dy: NDArray[np.float32], dx: NDArray[np.float32] | None, threads: int
    ) -> None: ...
    def stage_times(self, of: str = "step") -> list[tuple[float, list[tuple[str, float]]]]: ...
