"""Memory that the Winograd kernels need, and how many samples they want at a time.

`csrc/winograd.h` and `csrc/strided.h` explain the methods. The sizes here are those of
`csrc/winograd.c` and `csrc/strided.c`.
"""

from typing import NamedTuple

from .plan import BLOCKS, LANES, WINOGRAD

PANEL = WINOGRAD["panel"]  # vectors of outputs computed side by side
ENOUGH_TILES = 32  # of a call: the weights at the points are fetched once for all of them
MOST_SLOTS = 8  # of a call, so that threads have something to share
LEAST_TILES = 8  # of a call in training; fewer spend their time on the weights
LEAST_CHANNELS = 16  # on either side


def vectors(channels: int) -> int:
    return -(-channels // LANES)


def spread(floats: int) -> int:
    """At least `floats`, in an odd number of cache lines."""
    return (-(-floats // 16) | 1) * 16


class Method(NamedTuple):
    """One way to make 3×3 convolutions of fewer products.

    Attributes
    ----------
    name : str
        What the names of its kernels begin with.
    stride : int
    outputs : int
        Of a tile, along one axis.
    products, sums : int
        Of a tile, an input and an output: the products add up to the sums, over the inputs.
    wide : int
        Channels that one of the two sides must have, so that the way to the points pays.
    full : float
        The share of the tiles' outputs that must exist.
    """

    name: str
    stride: int
    outputs: int
    products: int
    sums: int
    wide: int
    full: float

    def tiles(self, height: int, width: int) -> int:
        """Tiles of a map of outputs."""
        return -(-height // self.outputs) * -(-width // self.outputs)

    def group(self, height: int, width: int) -> int:
        """Slots that a call should take: a power of two, so that calls of several kinds fit."""
        slots = 1
        most = MOST_SLOTS if self is DENSE else 1
        while slots < most and slots * self.tiles(height, width) < ENOUGH_TILES:
            slots *= 2
        return slots

    def pays(self, inputs: int, outputs: int, height: int, width: int, slots: int) -> bool:
        """Whether the kernels beat direct sums for `height` × `width` outputs.

        Parameters
        ----------
        slots : int
            How many samples a call can count on.
        """
        tiles = self.tiles(height, width)
        if min(inputs, outputs) < LEAST_CHANNELS or max(inputs, outputs) < self.wide:
            return False
        full = height * width >= self.full * self.outputs**2 * tiles
        return full and slots * tiles >= min(LEAST_TILES, 4 * slots)

    def packed_floats(self, inputs: int, outputs: int) -> int:
        """The weight at the points, and the bias; for dx, the numbers change places."""
        panels, product = -(-vectors(outputs) // PANEL), inputs * PANEL * LANES
        if self is DENSE:
            panel = self.products * spread(product)
        else:
            panel = self.products * product + self.sums * 16
        return panels * panel + vectors(outputs) * LANES

    def scratch_floats(self, inputs: int, outputs: int) -> int:
        """What a thread needs for a block of tiles, in any of the passes."""
        if self is DENSE:
            return max(dense_block(vectors(inputs)), dense_block(vectors(outputs)))
        return strided_block(vectors(inputs), vectors(outputs))


DENSE = Method("winograd", 1, 4, 36, 36, 16, 0.5)  # every product is a sum of its own
STRIDED = Method("strided", 2, 2, 25, 9, 32, 0.7)


def method(stride: tuple[int, int]) -> Method | None:
    """That for 3×3 convolutions of such a stride."""
    return {(m.stride, m.stride): m for m in (DENSE, STRIDED)}.get(stride)


def partial_floats(inputs: int, outputs: int) -> int:
    """Private gradients: weights and bias, in whole vectors."""
    return vectors(outputs) * LANES * (9 * inputs + 1)


def block_tiles(floats: int, tile: int) -> int:
    """Tiles of a block, so that they take `floats` together if each takes `tile`."""
    return max(WINOGRAD["fewest_tiles"], min(floats // tile, WINOGRAD["most_tiles"]))


def dense_block(planes: int) -> int:
    points = DENSE.products
    plane = LANES * block_tiles(WINOGRAD["floats"], points * LANES * (planes + PANEL))
    sums = spread(PANEL * plane)
    gradients = spread(plane) + spread(LANES * PANEL * LANES)
    return points * (spread(planes * plane) + max(sums, gradients))


def strided_block(inputs: int, outputs: int) -> int:
    """For so many vectors of channels: forward, dx, dweight, and dweight of all samples."""
    products, sums = STRIDED.products, STRIDED.sums
    some = BLOCKS["strided_conv_backward_weight_of_all"] // LANES

    def floats(planes: int) -> int:
        tile = planes * LANES
        return planes * spread(LANES * block_tiles(WINOGRAD["strided_floats"], tile))

    gradients = products * spread(LANES * PANEL * LANES)
    totals = (9 * some * LANES + 1) * some * LANES
    return max(
        floats(products * inputs + sums * PANEL),
        floats(sums * outputs + products * PANEL),
        floats(sums * outputs + products) + gradients,
        floats(sums * some + products) + gradients + totals,
    )
