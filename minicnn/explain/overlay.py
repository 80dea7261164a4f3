"""A heat map laid over its picture, as a PNG."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.bilinear import resize_map
from .heat import FloatArray

Pixels = NDArray[np.uint8]

SIDE = 448  # pixels that the longer side of a small picture is enlarged to
STRENGTH = 0.75  # how much of the picture the hottest colour covers
# From cold to hot, at equal distances: the darker, the more of the picture shows through.
COLOURS = np.array(
    [[38, 20, 84], [122, 28, 109], [200, 52, 76], [243, 120, 25], [252, 205, 62]], np.float32
)


def overlay(picture: NDArray[np.uint8], heat: FloatArray) -> Pixels:
    """The picture, and beside it the same with the heat on it.

    Parameters
    ----------
    picture : (C, H, W) uint8
        Grey, or red first; of more channels the first three are shown.
    heat : (H, W) float32
        From 0 to 1, as `Heat.values`.

    Returns
    -------
    (H', 2 W', 3) uint8
        Small pictures are enlarged until their longer side has 448 pixels.
    """
    height, width = (_enlarged(side, max(heat.shape)) for side in heat.shape)
    plain = np.asarray(_as_image(picture).resize((width, height), _filter(heat.shape)), np.float32)
    hot = np.clip(resize_map(heat, height, width), 0, 1)[:, :, None]
    # Cold places are dimmed a little, so that the hot ones stand out on bright pictures as well.
    covered = hot * STRENGTH
    mixed = plain * (1 - covered) * (0.7 + 0.3 * hot) + covered * _colours(hot[:, :, 0])
    both: Pixels = np.rint(np.hstack([plain, mixed])).astype(np.uint8)
    return both


def png(pixels: Pixels) -> bytes:
    """(H, W, 3) uint8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _enlarged(side: int, longest: int) -> int:
    return max(1, round(side * max(1.0, SIDE / longest)))


def _filter(shape: tuple[int, ...]) -> Any:
    """Tiny pictures keep their pixels visible; photos are smoothed."""
    from PIL import Image

    return Image.Resampling.NEAREST if max(shape) < 64 else Image.Resampling.BICUBIC


def _as_image(picture: NDArray[np.uint8]) -> Any:
    from PIL import Image

    shown = picture[:3] if len(picture) >= 3 else picture[[0, 0, 0]]
    return Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))


def _colours(heat: FloatArray) -> FloatArray:
    """(H, W) values from 0 to 1 as (H, W, 3) colours."""
    where = np.linspace(0, 1, len(COLOURS))
    planes = [np.interp(heat, where, COLOURS[:, c]) for c in range(3)]
    return np.stack(planes, axis=2).astype(np.float32)
