"""A picture from a file as the input of a model, converted as the model's own data were.

What a model expects is plain data in its `preprocessing`:

    channels    1 grey, 3 red-green-blue, 4 with alpha
    size        [height, width]; a picture of another size is stretched to it
    divisor     what the bytes 0 … 255 are divided by; None when the model was trained on
                values that no picture gives
    background  mean of the training images' borders, 0 … 1, or None when they differ

and, where it is not as for minicnn's own models,

    order       "BGR" when blue comes first
    resize      "bilinear" when a picture is resized as `bilinear.resize_bytes` does
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .bilinear import resize_bytes
from .picture_errors import named_errors

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DESCRIBED = ("channels", "size", "divisor", "background")
RESIZES = ("area", "bilinear")
LARGEST_SIDE = 4096  # pixels of a model's input
UNIFORM = 0.15  # largest spread of border brightness that still is one background
LOOKED_AT = 1000  # images that decide about the background
ORIENTATION, TURNED = 0x0112, 5  # EXIF tag; from this value on, width and height change places
# How many pixels a JPEG keeps, for each one of the input, when it is reduced while it is decoded.
SPARE = 2


def preprocessing_of(images: npt.NDArray[Any]) -> dict[str, Any]:
    """What turns a picture into an input like these.

    Parameters
    ----------
    images : (N, C, H, W) uint8 or float32 array
        The training images.
    """
    _, channels, height, width = images.shape
    divisor = _divisor(images)
    return {
        "channels": channels,
        "size": [height, width],
        "divisor": divisor,
        "background": None if divisor is None else _background(images[:LOOKED_AT], divisor),
    }


def check_preprocessing(found: Any) -> dict[str, Any]:
    """`found`, from a file that may hold anything, if pictures can be converted by it.

    Raises
    ------
    ValueError
        Naming the entry that is missing or out of range.
    """
    if not isinstance(found, dict) or not found.keys() >= {*DESCRIBED}:
        raise ValueError(
            f"the model does not say how a picture becomes its input (preprocessing with "
            f"{', '.join(DESCRIBED)}); use it from Python, with arrays as it was trained on"
        )
    size, background = found["size"], found["background"]
    fits = {
        "channels": type(found["channels"]) is int and found["channels"] in MODES,
        "size": isinstance(size, list) and len(size) == 2
        and all(type(n) is int and 1 <= n <= LARGEST_SIDE for n in size),
        "divisor": found["divisor"] in (1, 255, None),
        "background": background is None
        or (isinstance(background, (int, float)) and 0 <= background <= 1),
        "order": _order(found) == "RGB" or (_order(found) == "BGR" and found["channels"] == 3),
        "resize": found.get("resize", "area") in RESIZES,
    }  # fmt: skip
    for name, fit in fits.items():
        if not fit:
            raise ValueError(f"preprocessing has {name} {found[name]!r:.80}, which no picture has")
    if found["divisor"] is None:
        raise ValueError(
            "the model was trained on values that no picture gives (below 0 or above 255); "
            "use it from Python, with arrays as it was trained on"
        )
    return found


def _order(preprocessing: Mapping[str, Any]) -> Any:
    return preprocessing.get("order", "RGB")


def in_channel_order(
    images: npt.NDArray[Any], preprocessing: Mapping[str, Any]
) -> npt.NDArray[Any]:
    """(N, C, H, W) images with red first as a model expects them: a view, reversed for BGR."""
    return images[:, ::-1] if _order(preprocessing) == "BGR" else images


def _divisor(images: npt.NDArray[Any]) -> int | None:
    if images.dtype == np.uint8:
        return 255
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 255:
        return None
    return 255 if high <= 1 else 1


def _background(images: npt.NDArray[Any], divisor: int) -> float | None:
    full = 255.0 if images.dtype == np.uint8 else 255.0 / divisor
    borders = np.array([border(image) for image in images]) / full
    return round(float(borders.mean()), 3) if float(borders.std()) < UNIFORM else None


def border(image: npt.NDArray[Any]) -> float:
    """Mean of the outermost pixels of a (C, H, W) image."""
    edges = [image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]]
    return float(np.mean(np.concatenate([edge.ravel() for edge in edges]), dtype=np.float64))


def load_picture(
    path: str | os.PathLike[str], preprocessing: Mapping[str, Any], invert: bool = False
) -> npt.NDArray[np.uint8]:
    """Read one picture file as the bytes of a model's input.

    The orientation in the EXIF data is applied; of an animation the first frame is taken;
    16-bit values are reduced to 8; what is transparent shows the model's background, or white.
    The whole picture is stretched to the input's size, nothing is cut off. A JPEG of more than
    twice that size is reduced to a half, a quarter or an eighth while it is decoded.

    Parameters
    ----------
    path : path
        Any format that Pillow reads.
    preprocessing : mapping
        As from `preprocessing_of`.
    invert : bool
        Swap dark and light first.

    Returns
    -------
    (C, H, W) uint8 array

    Raises
    ------
    DataError
        The file is missing, unreadable, damaged, no picture, or far too large to be one.
    """
    with quiet_pillow():
        return decode_picture(path, preprocessing, invert)


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Within it, Pillow says nothing about oddities that do no harm, in any thread.

    Warning filters belong to the process, so the thread that starts others enters it for them.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.init()  # all formats, before several threads ask for them
        yield


def decode_picture(
    path: str | os.PathLike[str], preprocessing: Mapping[str, Any], invert: bool = False
) -> npt.NDArray[np.uint8]:
    """As `load_picture`, for callers that are inside `quiet_pillow` already."""
    name = os.fspath(path)
    height, width = preprocessing["size"]
    rule = preprocessing.get("resize", "area")
    with named_errors(name):
        # Another rule looks at single pixels, so all of them have to be there.
        picture, _ = _upright(name, (width, height) if rule == "area" else None)
        picture = _in_mode(picture, MODES[preprocessing["channels"]], preprocessing["background"])
        pixels = _resize(picture, height, width, rule)
    planes = in_channel_order(pixels.transpose(2, 0, 1)[None], preprocessing)[0]
    return np.ascontiguousarray(255 - planes if invert else planes)


def whole_picture(path: str) -> tuple[Any, str]:
    """A picture in its own size, upright and in RGB on white, and the name of its format.

    For callers that are inside `quiet_pillow`; errors as in `load_picture`.
    """
    with named_errors(path):
        picture, kind = _upright(path)
        return _in_mode(picture, "RGB", None), kind


def _upright(name: str, enough: tuple[int, int] | None = None) -> tuple[Any, str]:
    """The picture of 8 bits as a person sees it, and its format.

    A JPEG of more than twice the (width, height) that is `enough` comes reduced.
    """
    from PIL import Image, ImageOps

    # Opening a pipe would wait for somebody to write into it.
    if not os.path.isdir(name) and os.path.exists(name) and not os.path.isfile(name):
        raise ValueError("neither a file nor a folder")
    with open(name, "rb") as file, Image.open(file) as opened:
        _check_pixels(opened.size)
        if enough is not None:
            _reduce_while_decoding(opened, *enough)
        opened.load()
        return _eight_bits(ImageOps.exif_transpose(opened)), str(opened.format)


def _check_pixels(size: tuple[int, int]) -> None:
    """Refuse what unpacks to gigabytes already where Pillow would only warn."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError


def _reduce_while_decoding(opened: Any, width: int, height: int) -> None:
    """Let a JPEG's decoder leave out detail that the input has no pixels for."""
    if opened.format == "JPEG":
        turned = opened.getexif().get(ORIENTATION, 1) >= TURNED
        across, down = (height, width) if turned else (width, height)
        opened.draft(None, (SPARE * across, SPARE * down))


def _eight_bits(picture: Any) -> Any:
    """Modes of more than 8 bits as "L"; others as they are."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("holds values below zero or no numbers; save it with 8 or 16 bits")
    high = float(values.max())
    # Float pictures hold 0 … 1 by convention; whole numbers are 8- or 16-bit values.
    full = 1 if picture.mode == "F" and high <= 1 else 255 if high <= 255 else 65535
    if picture.mode.startswith("I;16"):
        full = 65535
    if high > full:
        raise ValueError(f"holds values up to {high:g}; save it with 8 or 16 bits")
    return Image.fromarray((values * (255 / full) + 0.5).astype(np.uint8))


def _resize(picture: Any, height: int, width: int, rule: str) -> npt.NDArray[np.uint8]:
    """The picture's bytes, (height, width, C)."""
    if rule == "bilinear":
        return resize_bytes(np.asarray(picture).reshape(picture.height, picture.width, -1),
                            height, width)  # fmt: skip
    resized = picture.resize((width, height), _filter(picture.size, (width, height)))
    return np.asarray(resized, np.uint8).reshape(height, width, -1)


def _filter(old: tuple[int, int], new: tuple[int, int]) -> Any:
    """Means over areas to shrink, which gives an enlarged digit back as it was; else bilinear."""
    from PIL import Image

    shrinks = old[0] >= new[0] and old[1] >= new[1]
    return Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR


def _in_mode(picture: Any, mode: str, background: float | None) -> Any:
    from PIL import Image

    if mode != "RGBA" and picture.has_transparency_data:
        picture = picture.convert("RGBA")
        level = 255 if background is None else round(255 * background)
        paper = Image.new("RGBA", picture.size, (level, level, level, 255))
        picture = Image.alpha_composite(paper, picture)
    return picture if picture.mode == mode else picture.convert(mode)
