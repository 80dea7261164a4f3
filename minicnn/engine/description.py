"""What a plan does, as plain data; `plan.pyx` turns it into C structures of the same names.

Offsets and strides count floats. `csrc/engine.h` says what each field means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .plan import LANES

Border = tuple[int, int, int, int]  # rows above, below, columns to the left, to the right


class Map(NamedTuple):
    """A feature map within a slot: [channels][height][width][LANES]."""

    offset: int
    channels: int
    height: int
    width: int
    plane: int
    row: int


class Taps(NamedTuple):
    """Positions of a kernel: offsets into the map that is summed over, and into the weight."""

    x: list[int]
    weight: list[int]
    first: tuple[int, int]


@dataclass
class Operation:
    """One layer's work, with the layers that were fused into it."""

    x: Map | None = None
    y: Map | None = None
    dx: Map | None = None
    dy: Map | None = None
    weight: Any = None
    bias: Any = None
    dweight: Any = None
    dbias: Any = None
    relu: bool = False
    gate: bool = False
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    forward_taps: Taps | None = None
    weight_taps: list[int] = field(default_factory=list)
    input_taps: list[Taps] = field(default_factory=list)
    partial: int = 0
    bytes: int = 0
    count_include_pad: bool = False
    running_mean: Any = None
    running_var: Any = None
    whole_channels: bool = False
    slope: float = 0.0
    group: int = 1  # slots that its kernels take at a time


class Stage(NamedTuple):
    """Calls (kernel's name, index of the operation), one after the other for each item."""

    items: int  # SLOTS: as many as there are slots
    calls: Sequence[tuple[str, int]]
    wait: bool
    whole: bool = False  # nothing interrupts it, nor what comes after it


SLOTS = -1


class Memory:
    """Hands out parts of a slot."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, floats: int) -> int:
        """Offset of the next `floats` floats, a multiple of the longest vector."""
        start = self.used
        self.used += -(-floats // 16) * 16
        return start

    def map(self, shape: tuple[int, int, int], border: Border = (0, 0, 0, 0)) -> Map:
        """A new map of `shape` (C, H, W) with zeros around each channel."""
        channels, height, width = shape
        above, below, left, right = border
        row = (width + left + right) * LANES
        plane = (height + above + below) * row
        offset = self.take(channels * plane) + above * row + left * LANES
        return Map(offset, channels, height, width, plane, row)

    @property
    def slot_floats(self) -> int:
        """Distance of two slots: not a multiple of a page, which would crowd the caches."""
        return -(-self.used // 1024) * 1024 + 80


def reshaped(m: Map, shape: tuple[int, int, int]) -> Map:
    """The values of `m`, which has no border where the shape differs, as another shape."""
    if (m.channels, m.height, m.width) == shape:
        return m
    channels, height, width = shape
    return Map(m.offset, channels, height, width, height * width * LANES, width * LANES)
