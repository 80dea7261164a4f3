"""Why a file is no picture, in words about the file."""

import contextlib
import os
from collections.abc import Iterator

from .errors import DataError


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Within it, whatever a picture file can go wrong with is a DataError that names it."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's readers raise a dozen types
        raise DataError(f"{name}: {_reason(error, name)}") from error


def _reason(error: Exception, name: str) -> str:
    """Why the file of that name is no picture, in words about the file."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, IsADirectoryError):
        return "is a folder; give the picture files in it"
    if isinstance(error, UnidentifiedImageError):
        if _is_empty(name):
            return "is empty (0 bytes); copy it again, or remove it"
        return "not a picture in a format that Pillow reads; convert it to PNG or JPEG"
    if isinstance(error, Image.DecompressionBombError):
        return f"declares more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down first"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"damaged or not a picture: {error}"


def _is_empty(name: str) -> bool:
    try:
        return os.path.getsize(name) == 0
    except OSError:
        return False
