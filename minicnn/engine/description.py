"""What a plan does, as plain data; `plan.pyx` turns it into C structures of the same names.

Offsets and strides count floats. `csrc/engine.h` says what each field means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .plan import LANES

Border = tuple[int, int, int, int]  # rows above, below, columns to the left, to the right


SLOT, LOCAL, INPUT, OUTPUT = range(4)  # in each slot, of a thread, or what users gave and get


@dataclass(eq=False)
class Buffer:
    """Memory for the values of one map; `lowering/lifetimes.py` decides where it is."""

    floats: int
    zeros: Any = None  # sizes of a map that keeps zeros around it: only its like may share them
    where: int = SLOT
    copies: int = 1  # of a thread: slots that have it at the same time
    start: int = 0
    used: list[tuple[int, int]] = field(default_factory=list)  # by which stages, and calls of them


class Map(NamedTuple):
    """A feature map: [planes][height][width][LANES].

    A plane is one channel where the lanes are samples, LANES of them where the lanes are
    channels; a planar map has one channel a plane and one value a pixel.
    """

    buffer: Buffer
    offset: int  # from the start of the buffer
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
    down: Sequence[int] = ()  # for each row of the kernel, how far below its pixel it reads


@dataclass(eq=False)
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
    bytes: Map | None = None
    count_include_pad: bool = False
    gamma: Any = None  # of a BatchNorm that is part of a convolution, with beta
    beta: Any = None
    running_mean: Any = None
    running_var: Any = None
    frozen: bool = False
    whole_channels: bool = False
    slope: float = 0.0
    group: int = 1  # slots that its kernels take at a time
    parts: int = 1  # of a slot: items that share its work
    output_parts: int = 1  # among those that share the outputs, too
    inputs: int = 0
    outputs: int = 0
    planar: bool = False
    side: int = 1  # pixels of dx side by side in a vector, while they are summed
    gradient_run: int = 1
    tight: bool = False  # the backward pass has maps without idle lanes
    pooled: Map | None = None
    dpooled: Map | None = None
    pool: tuple[int, int] = (1, 1)
    packed: int = 0  # floats
    packed_of: Any = None  # whose packed weights of the forward pass it uses
    repacked: bool = False  # only where the weights have changed
    packed_back: int = 0
    scratch: int = 0  # floats that a kernel of it takes of its thread while it runs
    winograd: Any = None  # the `winograd.Method` that makes it of fewer products
    over_batch: bool = False  # gradients of the weights for all samples, when they are done
    packs_over: Any = None  # whose packed weights the backward pass replaces by those for dx
    statistics_of: Any = None  # the BatchNorm whose statistics this one uses
    by_rows: bool = False  # Linear: one sample at a time, with private gradients


class Stage(NamedTuple):
    """Calls (kernel's name, index of the operation), one after the other for each item."""

    items: int  # SLOTS: as many as there are slots; below: so many parts of every slot
    calls: Sequence[tuple[str, int]]
    wait: bool
    whole: bool = False  # nothing interrupts it, nor what comes after it


SLOTS = -1


class Memory:
    """The buffers of a plan."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def take(self, floats: int, zeros: Any = None) -> Buffer:
        """A new buffer, of whole vectors."""
        self.buffers.append(Buffer(-(-floats // 16) * 16, zeros))
        return self.buffers[-1]

    def bytes(self, count: int) -> Map:
        """Room for `count` bytes."""
        return Map(self.take(-(-count // 4)), 0, 0, 0, 0, 0, 0)

    def map(
        self, shape: tuple[int, int, int], border: Border = (0, 0, 0, 0), pixel: int = LANES
    ) -> Map:
        """A new map of `shape` (planes, H, W) with zeros around each plane.

        `pixel` is the number of values at a place: LANES, or 1 in a planar map.
        """
        planes, height, width = shape
        above, below, left, right = border
        row = (width + left + right) * pixel
        plane = (height + above + below) * row
        zeros = (shape, border, pixel) if any(border) else None
        buffer = self.take(planes * plane, zeros)
        return Map(buffer, above * row + left * pixel, planes, height, width, plane, row)


def slot_distance(floats: int) -> int:
    """From slot to slot: an odd number of cache lines, so that slots use all sets of a cache.

    And no more than needed: small slots share pages, of which a core remembers few.
    """
    return (-(-floats // 16) | 1) * 16


def reshaped(m: Map, shape: tuple[int, int, int]) -> Map:
    """The values of `m`, which has no border where the shape differs, as another shape."""
    if (m.channels, m.height, m.width) == shape:
        return m
    channels, height, width = shape
    return Map(m.buffer, m.offset, channels, height, width, height * width * LANES, width * LANES)
