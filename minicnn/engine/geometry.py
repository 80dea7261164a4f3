"""Where a convolution reads: positions of its kernel as offsets, and the borders they need."""

from typing import NamedTuple

from .description import Border, Map, Taps
from .plan import LANES


class Convolution(NamedTuple):
    """Sizes of a convolution; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]  # above and to the left
    dilation: tuple[int, int]
    input: tuple[int, int]
    output: tuple[int, int]


def input_border(c: Convolution) -> Border:
    """Zeros around x, so that every position of the kernel finds a value."""
    sides = []
    for axis in (0, 1):
        reach = (c.output[axis] - 1) * c.stride[axis] + (c.kernel[axis] - 1) * c.dilation[axis]
        last = reach - c.padding[axis]
        sides += [c.padding[axis], max(0, last - (c.input[axis] - 1))]
    return (sides[0], sides[1], sides[2], sides[3])


def gradient_border(c: Convolution) -> Border:
    """Zeros around dy, so that the same holds for the sums that make dx."""
    sides = []
    for axis in (0, 1):
        before = after = 0
        for rest in rests(c, axis):
            count = -(-(c.input[axis] - rest) // c.stride[axis])
            for _, shift in positions(c, axis, rest):
                before = max(before, -shift)
                after = max(after, count - 1 + shift - (c.output[axis] - 1))
        sides += [before, after]
    return (sides[0], sides[1], sides[2], sides[3])


def rests(c: Convolution, axis: int) -> range:
    """The rests modulo the stride that pixels of x leave along one axis."""
    return range(min(c.stride[axis], c.input[axis]))


def positions(c: Convolution, axis: int, rest: int) -> list[tuple[int, int]]:
    """Which positions of the kernel touch the pixels rest, rest + stride, …, and through which
    output: pixel number i through output i + shift. As (position, shift)."""
    found = []
    for position in range(c.kernel[axis]):
        distance = rest + c.padding[axis] - position * c.dilation[axis]
        if distance % c.stride[axis] == 0:
            found.append((position, distance // c.stride[axis]))
    return found


def forward_taps(c: Convolution, x: Map, pixel: int = LANES) -> Taps:
    """Every position of the kernel, in the order of the weight. `pixel`: floats from one pixel
    of x to the next."""
    offsets = [
        (i * c.dilation[0] - c.padding[0]) * x.row + (j * c.dilation[1] - c.padding[1]) * pixel
        for i in range(c.kernel[0])
        for j in range(c.kernel[1])
    ]
    down = [i * c.dilation[0] - c.padding[0] for i in range(c.kernel[0])]
    return Taps(offsets, list(range(len(offsets))), (0, 0), down)


def weight_taps(c: Convolution, x: Map, channels: int, pixel: int = LANES) -> list[int]:
    """The same for all channels of a group: where each weight meets x."""
    taps = forward_taps(c, x, pixel).x
    return [channel * x.plane + offset for channel in range(channels) for offset in taps]


def input_taps(c: Convolution, dy: Map) -> list[Taps]:
    """What dx sums over: one set of positions for each pair of rests."""
    sets = []
    for rest_h in rests(c, 0):
        for rest_w in rests(c, 1):
            pairs = [
                (down * dy.row + right * LANES, i * c.kernel[1] + j)
                for i, down in positions(c, 0, rest_h)
                for j, right in positions(c, 1, rest_w)
            ]
            down = [shift for _, shift in positions(c, 0, rest_h)]
            first = (rest_h, rest_w)
            sets.append(Taps([p[0] for p in pairs], [p[1] for p in pairs], first, down))
    return sets


def side_by_side_taps(c: Convolution, dy: Map, side: int) -> Taps:
    """What `side` neighbouring pixels of dx sum over together, at stride 1.

    Position j of the kernel is for the first pixel what j + 1 is for the second, so they start
    before the kernel: at 1 - side. `weight`: that position.
    """
    rows = positions(c, 0, 0)
    columns = range(1 - side, c.kernel[1])
    offsets = [d * dy.row + (c.padding[1] - j) * LANES for _, d in rows for j in columns]
    return Taps(offsets, [*columns] * len(rows), (0, 0), [d for _, d in rows])
