"""Bilinear interpolation between the four nearest pixels, without averaging when it shrinks.

This is what OpenCV's `resize` does by default, and what the seed project's models were trained
with. Pillow's filter of that name averages all pixels that a new one covers (antialias).

Positions follow the half-pixel rule: new pixel i of `new` looks at (i + 1/2) · old / new - 1/2,
held inside the picture.
"""

import numpy as np
from numpy.typing import NDArray

_ONE = 2048  # the weight 1 in OpenCV's 8-bit arithmetic


def neighbours(
    old: int, new: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """For each of `new` positions along an axis of `old`: both neighbours, weight of the second.

    Returns
    -------
    first, second : (new,) integers in 0 … old - 1
    weight : (new,) float64 in 0 … 1
    """
    where = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    first = np.floor(where).astype(np.intp)
    return first, np.minimum(first + 1, old - 1), where - first


def resize_bytes(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture in another size, to the byte as OpenCV gives it.

    The weights are whole multiples of 1/2048 and the sums are cut twice (4 and 16 bits) before
    the last is rounded, so results lie up to one level below the exact ones.

    Parameters
    ----------
    pixels : (H, W, C) uint8
    height, width : int
        At least 1.

    Returns
    -------
    (height, width, C) uint8

    Source: OpenCV, `resize` with `INTER_LINEAR` on 8-bit images.
    """
    first, second, weight = neighbours(pixels.shape[1], width)
    left, right = (w[None, :, None] for w in _whole_weights(weight))

    def along(rows: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The rows resized along W, 2048 times too large."""
        return rows[:, first] * left + rows[:, second] * right

    upper, lower, weight = neighbours(pixels.shape[0], height)
    top, bottom = (w[:, None, None] for w in _whole_weights(weight))
    # Largest value on the way: (255 · 2048 >> 4) · 2048 < 2^27.
    total = (along(pixels[upper]) >> 4) * top >> 16
    total += (along(pixels[lower]) >> 4) * bottom >> 16
    return ((total + 2) >> 2).astype(np.uint8)


def _whole_weights(second: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The weights of the first and the second neighbour, in units of 1/2048."""
    return (
        np.rint((1 - second) * _ONE).astype(np.int32),
        np.rint(second * _ONE).astype(np.int32),
    )


def resize_map(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A (h, w) float32 map in another size, (height, width) float32, not rounded."""
    first, second, weight = neighbours(values.shape[0], height)
    rows = values[first] * (1 - weight)[:, None] + values[second] * weight[:, None]
    first, second, weight = neighbours(values.shape[1], width)
    return (rows[:, first] * (1 - weight) + rows[:, second] * weight).astype(np.float32)
