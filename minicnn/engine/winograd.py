"""Memory that the Winograd kernels need, and how many samples they want at a time.

`csrc/winograd.h` explains the method. The sizes here are those of `csrc/winograd.c`.
"""

from .plan import LANES, WINOGRAD

PANEL = WINOGRAD["panel"]  # vectors of outputs computed side by side
OUTPUTS = 4  # of a tile, along one axis
POINTS = 36
ENOUGH_TILES = 32  # of a call: the weights at the points are fetched once for all of them
MOST_SLOTS = 8  # of a call, so that threads have something to share
LEAST_TILES = 8  # of a call in training; fewer spend their time on the weights


def vectors(channels: int) -> int:
    return -(-channels // LANES)


def spread(floats: int) -> int:
    """At least `floats`, in an odd number of cache lines."""
    return (-(-floats // 16) | 1) * 16


def tiles(height: int, width: int) -> int:
    """Tiles of a map of outputs."""
    return -(-height // OUTPUTS) * -(-width // OUTPUTS)


def group(height: int, width: int) -> int:
    """Slots that a call should take: a power of two, so that calls of several kinds fit."""
    slots = 1
    while slots < MOST_SLOTS and slots * tiles(height, width) < ENOUGH_TILES:
        slots *= 2
    return slots


def pays(inputs: int, outputs: int, height: int, width: int, slots: int) -> bool:
    """Whether the kernels beat direct sums for `height` × `width` outputs.

    Parameters
    ----------
    slots : int
        How many samples a call can count on.
    """
    full = 2 * height * width >= OUTPUTS * OUTPUTS * tiles(height, width)  # tiles are half used
    enough = slots * tiles(height, width) >= min(LEAST_TILES, 4 * slots)
    return min(inputs, outputs) >= 16 and full and enough


def packed_floats(inputs: int, outputs: int) -> int:
    """The weight at the points, and the bias; for dx, `inputs` and `outputs` change places."""
    panels = -(-vectors(outputs) // PANEL)
    return panels * POINTS * spread(inputs * PANEL * LANES) + vectors(outputs) * LANES


def partial_floats(inputs: int, outputs: int) -> int:
    """Private gradients: weights and bias, in whole vectors."""
    return vectors(outputs) * LANES * (9 * inputs + 1)


def scratch_floats(inputs: int, outputs: int) -> int:
    """What a thread needs for a block of tiles, in any of the passes."""
    return max(block_floats(vectors(inputs)), block_floats(vectors(outputs)))


def block_floats(planes: int) -> int:
    count = WINOGRAD["floats"] // (POINTS * LANES * (planes + PANEL))
    count = max(WINOGRAD["fewest_tiles"], min(count, WINOGRAD["most_tiles"]))
    plane = count * LANES
    sums = spread(PANEL * plane)
    gradients = spread(plane) + spread(LANES * PANEL * LANES)
    return POINTS * (spread(planes * plane) + max(sums, gradients))
