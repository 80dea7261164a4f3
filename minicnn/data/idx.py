"""IDX files: the format of MNIST and its relatives.

Layout, all numbers big-endian: two zero bytes, one byte for the type of the elements, one byte
for the number of dimensions, a 4-byte size per dimension, then the elements, last axis fastest.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import math
import os
import re
import sys
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from .dataset import Dataset, numbered_classes
from .errors import DataError

PathLike = str | os.PathLike[str]

DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}
MAX_DIMENSIONS = 8
# Deflate cannot pack more than 1,032 bytes into one, so a gzipped file that declares more is
# refused before anything is allocated.
MAX_GZIP_RATIO = 1032

# "t10k-images-idx3-ubyte.gz", "train-labels.idx1-ubyte", "emnist-letters-test-images-idx3-ubyte"
NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx\d-ubyte(?P<gz>\.gz)?"
)
SPLITS = {"train": ("train",), "test": ("t10k", "test")}


class IdxPair(NamedTuple):
    """The two files of one split."""

    images: str
    labels: str


def load_idx(path: PathLike) -> npt.NDArray[Any]:
    """Read one IDX file, gzipped or not (decided by its content, not by its name).

    Parameters
    ----------
    path : path

    Returns
    -------
    array of the file's shape, uint8, int8, int16, int32, float32 or float64, native byte order

    Raises
    ------
    DataError
        An unreadable, truncated, oversized or foreign file; nothing is allocated before the
        declared shape agrees with the size of the file.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _read_gzip(file, path, size) if zipped else _read(file, path, size, size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be read as an IDX file: {reason}") from error


def _read_gzip(file: BinaryIO, path: str, size: int) -> npt.NDArray[Any]:
    import gzip  # not needed by anything else of `import minicnn`
    import zlib

    try:
        with gzip.GzipFile(fileobj=file) as stream:
            return _read(stream, path, 0, MAX_GZIP_RATIO * size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip data are damaged or cut short: {error}") from error


def _read(stream: Any, path: str, least: int, most: int) -> npt.NDArray[Any]:
    """The array in `stream`, whose length is known to be `least` ... `most` bytes."""
    dtype, shape = _read_header(stream, path)
    header = 4 + 4 * len(shape)
    expected = header + math.prod(shape) * dtype.itemsize
    if not least <= expected <= most:
        got = f"{most} bytes" if least == most else f"a gzip file that holds at most {most} bytes"
        raise DataError(
            f"{path}: {_describe(dtype, shape)} takes {expected} bytes, got {got}; "
            "the file is cut short, damaged or no IDX file"
        )
    array = np.empty(shape, dtype)
    view = array.data.cast("B")
    filled = 0
    while count := stream.readinto(view[filled:]):
        filled += count
    if filled < len(view) or stream.read(1):
        got = f"only {header + filled}" if filled < len(view) else "more"
        raise DataError(
            f"{path}: {_describe(dtype, shape)} takes {expected} bytes, got {got}; "
            "download the file again"
        )
    return array.byteswap(inplace=True) if sys.byteorder == "little" else array


def _read_header(stream: Any, path: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        codes = ", ".join(f"{code:02x}" for code in DTYPES)
        raise DataError(
            f"{path}: not an IDX file: it starts with {magic.hex(' ') or 'nothing'}, expected "
            f"00 00, a type out of {codes}, and the number of dimensions"
        )
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise DataError(
            f"{path}: {magic[3]} dimensions declared, expected 1 ... {MAX_DIMENSIONS}; "
            "the file is damaged or no IDX file"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: ends inside its header, after {4 + len(sizes)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{path}: declares the shape {shape}, which holds no data")
    return DTYPES[magic[2]], shape


def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"its header declares {'x'.join(map(str, shape))} {dtype}, which"


def load_mnist(root: PathLike, split: str = "train") -> Dataset:
    """One split of a folder of IDX files: MNIST, Fashion-MNIST, or any set named like them.

    Parameters
    ----------
    root : path
        A folder with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, or the same with
        `t10k` or `test`; also spelled `.idx3-ubyte`, with a prefix (`emnist-letters-train-...`)
        and gzipped.
    split : "train" or "test"

    Returns
    -------
    Dataset
        images (N, 1, H, W) uint8 (or (N, C, H, W) from a file of four dimensions), labels (N,)
        int64, classes "0", "1", ... up to the largest label.

    Raises
    ------
    DataError
        A missing file (the message lists the names that were looked for), a broken one, or
        images and labels that do not belong together.
    ValueError
        Another `split`.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    pair = find_idx(root).get(split)
    if pair is None:
        names = " or ".join(f"{part}-images-idx3-ubyte" for part in SPLITS[split])
        raise DataError(
            f"{os.fspath(root)}: no {split} files; looked for {names}, and the same with "
            "labels-idx1-ubyte, also spelled .idx3-ubyte, with a prefix, or ending in .gz"
        )
    images, labels = load_idx(pair.images), load_idx(pair.labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{pair.images}: expected uint8 images of shape (N, H, W) or (N, C, H, W), "
            f"got {images.dtype} {images.shape}; read other arrays with load_idx"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{pair.labels}: expected {len(images)} integers, one for each image in "
            f"{pair.images}, got {labels.dtype} {labels.shape}"
        )
    if images.ndim == 3:
        images = images[:, np.newaxis]
    numbers = labels.astype(np.int64)
    return Dataset(images, numbers, numbered_classes(numbers, pair.labels))


def find_idx(root: PathLike) -> dict[str, IdxPair]:
    """The splits whose images and labels lie in the folder `root`: "train", "test".

    An unpacked file is preferred to its gzipped copy.

    Raises
    ------
    DataError
        `root` is not a readable folder, or holds more than one set.
    """
    root = os.fspath(root)
    try:
        names = sorted(os.listdir(root))  # "...ubyte" sorts before "...ubyte.gz"
    except OSError as error:
        raise DataError(f"{root}: cannot be read as a folder: {error.strerror}") from error
    found: dict[tuple[str, str], str] = {}
    sets: set[str] = set()
    for name in names:
        if match := NAME.fullmatch(name):
            sets.add(match["set"])
            found.setdefault((match["part"], match["kind"]), os.path.join(root, name))
    if len(sets) > 1:
        raise DataError(
            f"{root}: more than one data set: {', '.join(sorted(repr(s) for s in sets))}; "
            "give each its own folder"
        )
    pairs = {}
    for split, parts in SPLITS.items():
        for part in parts:
            if (part, "images") in found and (part, "labels") in found:
                pairs[split] = IdxPair(found[part, "images"], found[part, "labels"])
                break
    return pairs
