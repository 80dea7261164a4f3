"""Decoded pictures on the disk, for sets that are too large for the memory.

A set is two files in a folder of its own: `images.bin`, the bytes of all pictures one after the
other, and `index.json`, what was found wrong. The folder gets its name when both are complete, so
it is there as a whole or not at all. Its name tells the files it was made from by path, size, time
of change and permissions; another file, another name.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .download import cache_folder
from .errors import DataError

FORMAT = 1
ROWS = 256  # images that are copied at a time

Images = npt.NDArray[Any]
Problems = dict[int, str]  # position among the files -> what is wrong with it
Write = Callable[[Callable[[npt.NDArray[np.uint8]], Any]], Problems]


def cached_pictures(
    root: str,
    files: Sequence[str],
    preprocessing: Mapping[str, Any],
    write: Write,
    cache: str | os.PathLike[str] | None = None,
) -> tuple[Images, Problems]:
    """The pictures of `files` as a memory-mapped array, decoded only when they are not there yet.

    Parameters
    ----------
    root : str
        The folder that the files are in.
    files : sequence of str
    preprocessing : mapping
        How they are decoded, as in `minicnn.data.pictures`.
    write : callable
        Decodes: called with a function that takes one (C, H, W) image after the other; gives
        what is wrong with the files that it left out.
    cache : path, optional
        Instead of `minicnn.data.download.cache_folder()`.

    Returns
    -------
    images : (N, C, H, W) uint8 array, read-only
        N is the number of files without a problem.
    problems : dict

    Raises
    ------
    DataError
        The cache folder is not ours to write in.
    OSError
        The disk is full or broken.
    """
    shape = (preprocessing["channels"], *preprocessing["size"])
    base = cache_folder() if cache is None else os.fspath(cache)
    place = os.path.join(base, "photos", _digest([os.path.realpath(root), preprocessing])[:16])
    folder = os.path.join(place, _digest(_described(root, files))[:32])
    found = _open(folder, len(files), shape)
    if found is None:
        try:
            os.makedirs(place, exist_ok=True)
            _make(folder, write)
        except PermissionError as error:
            raise DataError(
                f"{root}: the decoded pictures do not fit the memory budget, and {base} cannot be "
                f"written: {error.strerror}; set MINICNN_CACHE to a folder with room for them"
            ) from error
        _remove_older(place, folder)
        found = _open(folder, len(files), shape)
    if found is None:
        raise OSError(f"{folder}: vanished while it was read; try again")
    return found


def _described(root: str, files: Sequence[str]) -> list[Any]:
    """Everything that decides what the decoded pictures are."""
    from PIL import __version__

    facts: list[Any] = [FORMAT, __version__]
    for path in files:
        try:
            status = os.stat(path)
            state = (status.st_size, status.st_mtime_ns, status.st_mode)
        except OSError:
            state = (-1, -1, -1)
        facts.append([os.path.relpath(path, root), *state])
    return facts


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _open(folder: str, count: int, shape: tuple[int, ...]) -> tuple[Images, Problems] | None:
    """What is in the cache, or None when it is not there or damaged."""
    try:
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
            problems = {int(key): str(reason) for key, reason in json.load(file).items()}
        path = os.path.join(folder, "images.bin")
        whole = (count - len(problems), *shape)
        if os.path.getsize(path) != int(np.prod(whole, dtype=np.int64)):
            return None
        return np.memmap(path, np.uint8, "r", shape=whole), problems
    except (OSError, ValueError, AttributeError):
        return None


def _make(folder: str, write: Write) -> None:
    """Fill a new folder and give it its name; nothing stays behind when that fails."""
    partial = tempfile.mkdtemp(dir=os.path.dirname(folder), prefix="part-")
    try:
        # Written, not mapped: on a full disk a mapping would end the process without a word.
        with open(os.path.join(partial, "images.bin"), "wb") as file:
            problems = write(lambda image: file.write(image.data))
            file.flush()
            os.fsync(file.fileno())
        with open(os.path.join(partial, "index.json"), "w", encoding="utf-8") as file:
            json.dump(problems, file)
        shutil.rmtree(folder, ignore_errors=True)  # one that was damaged
        os.rename(partial, folder)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(partial, ignore_errors=True)
        # Another process may have put the same pictures there first.
        if not os.path.exists(os.path.join(folder, "index.json")):
            raise


def _remove_older(place: str, folder: str) -> None:
    """Make room: what was decoded before the files in the folder changed."""
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if path != folder and not name.startswith("part-"):
            shutil.rmtree(path, ignore_errors=True)


def take_rows(images: Images, index: npt.NDArray[np.int64]) -> Images:
    """`images[index]`; of a memory-mapped array a memory-mapped copy.

    Raises
    ------
    OSError
        The disk is full.
    """
    if not isinstance(images, np.memmap):
        return np.asarray(images[index])
    return _spool(images[index[k : k + ROWS]] for k in range(0, len(index), ROWS))


def join_rows(parts: Sequence[Images]) -> Images:
    """`np.concatenate(parts)`; where one is memory-mapped, a memory-mapped copy."""
    if len(parts) == 1:
        return parts[0]
    if not any(isinstance(part, np.memmap) for part in parts):
        return np.concatenate(parts)
    return _spool(part[k : k + ROWS] for part in parts for k in range(0, len(part), ROWS))


def _spool(blocks: Iterable[Images]) -> Images:
    """Blocks of rows one after the other in a file that vanishes with the array."""
    os.makedirs(cache_folder(), exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_folder()) as file:
        shape, dtype = _write_blocks(iter(blocks), file)
        return np.memmap(file, dtype, "r+", shape=shape)


def _write_blocks(blocks: Iterator[Images], file: BinaryIO) -> tuple[tuple[int, ...], Any]:
    count = 0
    for block in blocks:
        file.write(np.ascontiguousarray(block).data)
        count += len(block)
        shape, dtype = block.shape[1:], block.dtype
    file.flush()
    return (count, *shape), dtype
