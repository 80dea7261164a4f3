"""Pictures inside the page: small PNG or JPEG files as data URLs."""

import base64
import io
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.pictures import ORIENTATION, TURNED, load_picture, quiet_pillow

SIDE = 200  # pixels of a thumbnail's longer side
SHARP = 64  # sides below which pixels are shown as squares
QUALITY = 82  # of JPEG


class Picture(NamedTuple):
    """A picture as the page holds it.

    Attributes
    ----------
    url : str
        data:image/…;base64,…
    width, height : int
    pixelated : bool
        So small that its pixels should stay visible.
    """

    url: str
    width: int
    height: int
    pixelated: bool


def encode(image: NDArray[Any]) -> Picture:
    """One sample of a data set.

    Parameters
    ----------
    image : (C, H, W) uint8 or float array
        Red first. Of floats, 0 … 1 is from black to white, else 0 … 255, and other ranges are
        stretched. Two channels, or more than four, show the first one.
    """
    return encode_pixels(as_bytes(image).transpose(1, 2, 0))


def as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The same as (3, H, W) uint8."""
    planes = image if image.dtype == np.uint8 else _scaled(image)
    return planes[:3] if len(planes) in (3, 4) else planes[[0, 0, 0]]


def encode_pixels(pixels: NDArray[np.uint8], width: int | None = None) -> Picture:
    """(H, W, 3) uint8, reduced to `width` where that is smaller."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if width is not None and picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    small = max(picture.size) < SHARP
    buffer = io.BytesIO()
    if small:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode()
    kind = "png" if small else "jpeg"
    return Picture(f"data:image/{kind};base64,{text}", *picture.size, small)


def thumbnail(path: str | os.PathLike[str], preprocessing: Mapping[str, Any]) -> Picture | None:
    """A photo in its own proportions, in the model's colours; None when it cannot be read."""
    try:
        width, height = _size(path)
        scale = min(1.0, SIDE / max(width, height))
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        plain = {**preprocessing, "size": size, "resize": "area", "order": "RGB"}
        return encode(load_picture(path, plain))
    except Exception:  # on damaged files Pillow's readers raise a dozen types
        return None


def _size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height as it is looked at."""
    from PIL import Image

    with quiet_pillow(), Image.open(path) as opened:
        turned = opened.getexif().get(ORIENTATION, 1) >= TURNED
        width, height = opened.size
    return (height, width) if turned else (width, height)


def _scaled(image: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255:
        image, full = image - low, max(high - low, 1e-30)
    else:
        full = 1.0 if high <= 1 else 255.0
    return np.rint(np.clip(image / full, 0, 1) * 255).astype(np.uint8)
