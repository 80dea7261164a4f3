"""NumPy archives (.npz) with images and labels."""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_labels, check_images
from .dataset import Dataset, Splits, join_splits, numbered_classes
from .errors import DataError
from .idx import PathLike

# Names of the images and the labels of each part.
PARTS = {
    "train": (("x", "y"), ("x_train", "y_train")),
    "validation": (("x_val", "y_val"),),
    "test": (("x_test", "y_test"),),
}
KNOWN = {"classes", *(name for pairs in PARTS.values() for pair in pairs for name in pair)}
EXPECTED = "x and y, or x_train and y_train; x_val, y_val, x_test, y_test and classes may be added"
# The most that deflate can pack into one byte, see idx.py.
MAX_DEFLATE_RATIO = 1032
CHANNELS = (1, 3, 4)


def load_npz(path: PathLike) -> Splits:
    """Read an archive made by `np.savez` or `np.savez_compressed`.

    It holds `x` and `y` (or `x_train` and `y_train`) and, where the data are divided already,
    `x_val`, `y_val`, `x_test`, `y_test`; `classes` may hold the class names as strings. Images
    are (N, H, W) or (N, C, H, W), uint8 or float; labels are integers from 0.

    Parameters
    ----------
    path : path

    Returns
    -------
    Splits
        Images as (N, C, H, W), uint8 or float32.

    Raises
    ------
    DataError
        An unreadable or damaged file, other arrays than these, or arrays that do not fit each
        other. Python objects in the file are refused; nothing is unpickled.
    """
    path = os.fspath(path)
    arrays = _read_archive(path)
    classes = arrays.pop("classes", None)
    parts: dict[str, Dataset] = {}
    for part, spellings in PARTS.items():
        for x, y in spellings:
            if x in arrays and y in arrays:
                if part in parts:
                    raise DataError(f"{path}: holds both x, y and x_train, y_train; keep one pair")
                parts[part] = _dataset(arrays.pop(x), arrays.pop(y), path, x, y)
    if arrays or "train" not in parts:
        got = ", ".join(sorted(arrays)) or "nothing to train on"
        raise DataError(f"{path}: {got} without a counterpart; expected {EXPECTED}")
    splits = join_splits(path, **parts)
    return splits if classes is None else _with_classes(splits, classes, path)


def _read_archive(path: str) -> dict[str, npt.NDArray[Any]]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if foreign := sorted(members.keys() - KNOWN):
                raise DataError(f"{path}: {', '.join(foreign)} not understood; expected {EXPECTED}")
            size = os.path.getsize(path)
            return {name: _read_member(archive, info, path, size) for name, info in members.items()}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # on damaged files zipfile and NumPy raise a dozen types
        raise DataError(f"{path}: cannot be read as an .npz archive: {error}") from error


def _read_member(archive: Any, info: Any, path: str, size: int) -> npt.NDArray[Any]:
    """One array of an archive of `size` bytes; its own size is checked before it is allocated."""
    where = f"{path}: {info.filename}"
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise DataError(f"{where}: .npy version {version}, expected 1.0 or 2.0")
        expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise DataError(f"{where}: holds Python objects, which are never loaded; save numbers")
    if expected != info.file_size or expected > MAX_DEFLATE_RATIO * min(info.compress_size, size):
        raise DataError(
            f"{where}: its header declares {dtype} {shape}, which takes {expected} bytes, got "
            f"{info.file_size} packed in {info.compress_size}; the file is damaged"
        )
    with archive.open(info) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _dataset(
    images: npt.NDArray[Any], labels: npt.NDArray[Any], path: str, x: str, y: str
) -> Dataset:
    try:
        check_images(images)
        numbers = as_labels(labels, len(images))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {x}, {y}: {error}") from error
    images = _as_nchw(images, f"{path}: {x}")
    if images.dtype != np.uint8:
        images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise DataError(f"{path}: {x}: holds NaN or infinite values")
    return Dataset(images, numbers, numbered_classes(numbers, f"{path}: {y}"))


def _as_nchw(images: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    shape = images.shape
    if images.ndim == 4 and shape[1] not in CHANNELS and shape[3] in CHANNELS:
        raise DataError(
            f"{where}: shape {shape} looks like (N, H, W, C), expected (N, C, H, W); "
            "save x.transpose(0, 3, 1, 2)"
        )
    if images.ndim not in (3, 4) or 0 in shape[1:]:
        raise DataError(f"{where}: expected (N, H, W) or (N, C, H, W), got {shape}; use x.reshape")
    return images[:, np.newaxis] if images.ndim == 3 else images


def _with_classes(splits: Splits, names: npt.NDArray[Any], path: str) -> Splits:
    needed = len(splits.train.classes)
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) < needed:
        raise DataError(
            f"{path}: classes must be {needed} strings or more, got {names.dtype} {names.shape}"
        )
    if len(set(names.tolist())) != len(names):
        raise DataError(f"{path}: classes names a class twice: {', '.join(names.tolist())}")
    classes = tuple(names.tolist())
    parts = {
        key: part._replace(classes=classes)
        for key in ("train", "validation", "test")
        if (part := getattr(splits, key)) is not None
    }
    return Splits(splits.name, **parts)
