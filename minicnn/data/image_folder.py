"""Photos in folders, one folder for each class, as arrays."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .dataset import Dataset, Photos, Splits
from .decoding import decode_in_order
from .errors import DataError
from .folders import Listing, Problem, find_parts, list_classes
from .picture_cache import Problems, cached_pictures
from .pictures import LARGEST_SIDE, MODES, RESIZES

MEMORY = 1 << 30  # bytes of decoded pictures that are kept in memory
SHOWN = 10  # problems that an error lists

Size = int | tuple[int, int]
Progress = Callable[[str, int, int], None]


class ImageFolder:
    """Pictures that lie in one folder for each class, decoded to one size.

    Each picture is turned by its EXIF orientation, reduced to 8 bits, converted to colour (or
    grey), laid on white where it is transparent, and stretched to `image_size`; nothing is cut
    off. `minicnn predict` does the same. Decoding runs in as many threads as the kernels use;
    it happens once: what fits `memory` is kept there, the rest goes to a file in the cache
    folder, which is found again the next time.

    Unpacks as `images, labels, classes = folder`.

    Parameters
    ----------
    root : path
        Holds `dog/…`, `bird/…`: each folder is a class, with pictures at any depth.
    image_size : int or (height, width)
    split : "train", "validation" or "test", optional
        For a root that holds `train/`, `val/`, `test/` with the class folders inside.
    channels : 1, 3 or 4
        Grey, red-green-blue, or with alpha.
    background : float in [0, 1], optional
        What transparent parts show: a grey between black and white; default white.
    resize : "area" or "bilinear"
        The latter as the seed project does it, between the four nearest pixels.
    on_error : "raise" or "skip"
        Whether what cannot be used is an error, or left out and listed in `problems`.
    memory : int, optional
        Bytes; default 1 GiB.
    cache : path, optional
        Instead of `$MINICNN_CACHE` or `~/.cache/minicnn`.
    progress : callable, optional
        Called as progress(root, pictures decoded, pictures in all).

    Attributes
    ----------
    images : (N, C, H, W) uint8 array
        Memory-mapped and read-only when it does not fit `memory`.
    labels : (N,) int64 array
    classes : tuple of str
        Folder names, sorted by code point.
    paths : list of str
        The file of each image.
    problems : list of Problem
        What was left out, as (path, reason).
    hidden, foreign : list of str
        What was passed over: hidden, or no picture by the ending of its name.

    Raises
    ------
    DataError
        No class folders or no pictures, and with `on_error="raise"` all files and folders that
        cannot be used, with the reasons; or a cache folder that is needed and not writable.
    TypeError, ValueError
        An argument out of range.
    OSError
        The disk of the cache is full.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        image_size: Size = 64,
        *,
        split: str | None = None,
        channels: int = 3,
        background: float | None = None,
        resize: str = "area",
        on_error: str = "raise",
        memory: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ):
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error is {on_error!r}; expected "raise" or "skip"')
        if channels not in MODES:
            raise ValueError(f"channels is {channels!r}; expected 1, 3 or 4")
        if background is not None and not 0 <= background <= 1:
            raise ValueError(f"background is {background!r}; expected 0 (black) to 1 (white)")
        if resize not in RESIZES:
            raise ValueError(f"resize is {resize!r}; expected {' or '.join(RESIZES)}")
        conversion = {
            "channels": channels, "size": list(check_size(image_size)), "divisor": 255,
            "background": background, "resize": resize,
        }  # fmt: skip
        self.root = _choose_root(os.fspath(root), split)
        listing = list_classes(self.root)
        budget = MEMORY if memory is None else memory
        images, wrong = _read(listing, conversion, budget, cache, progress)
        used = [k for k in range(len(listing.files)) if k not in wrong]
        self.images = images
        self.paths = [listing.files[k] for k in used]
        self.hidden, self.foreign = listing.hidden, listing.foreign
        labels = np.array([listing.labels[k] for k in used], np.int64)
        self.problems = _problems(listing, wrong, labels)
        if self.problems and on_error == "raise":
            raise DataError(_problems_text(self.root, self.problems))
        if not used:
            raise DataError(f"{self.root}: holds no picture that can be used")
        # A class without pictures has been listed as a problem; the others are numbered anew.
        present, self.labels = np.unique(labels, return_inverse=True)
        self.classes = tuple(listing.classes[k] for k in present)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.images, self.labels, self.classes))

    def __repr__(self) -> str:
        return (
            f"ImageFolder({self.root!r}: {len(self)} images {self.images.shape[1:]}, "
            f"{len(self.classes)} classes)"
        )


def open_photos(root: str, **options: Any) -> Splits:
    """The photos below `root`, in the parts that it has; options and errors of ImageFolder."""
    memory = options.pop("memory", None)
    left = MEMORY if memory is None else memory
    folders: dict[str, ImageFolder] = {}
    for part, path in (find_parts(root) or {"train": root}).items():
        folders[part] = folder = ImageFolder(path, memory=left, **options)
        if not isinstance(folder.images, np.memmap):
            left -= folder.images.nbytes
    sets = {part: _with_classes(folder, folders["train"]) for part, folder in folders.items()}
    photos = Photos(
        size=folders["train"].images.shape[2:],
        problems=tuple(p for folder in folders.values() for p in folder.problems),
        hidden=tuple(path for folder in folders.values() for path in folder.hidden),
        foreign=tuple(path for folder in folders.values() for path in folder.foreign),
        paths={part: folder.paths for part, folder in folders.items()},
    )
    return Splits(root, **sets, photos=photos)


def check_size(image_size: Size) -> tuple[int, int]:
    """(height, width) of `image_size`, which is both or one number for a square."""
    pair = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) for n in pair):
        raise TypeError(f"image_size is {image_size!r}; expected a whole number or (height, width)")
    height, width = map(int, pair)
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(f"image_size is {image_size!r}; expected sides of 1 to {LARGEST_SIDE}")
    return height, width


def _choose_root(root: str, split: str | None) -> str:
    parts = find_parts(root)
    if split is None:
        if parts:
            raise DataError(
                f"{root}: holds {', '.join(parts)}, not classes; say which: "
                f'ImageFolder({root!r}, split="train")'
            )
        return root
    if split not in parts:
        got = ", ".join(parts) or "no folder train with class folders in it"
        raise DataError(f"{root}: has no part {split!r}; it has {got}")
    return parts[split]


def _read(
    listing: Listing,
    preprocessing: Mapping[str, Any],
    memory: int,
    cache: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> tuple[npt.NDArray[np.uint8], Problems]:
    """The images of all files that can be used, and what is wrong with the others."""
    files = listing.files

    def write(take: Callable[[npt.NDArray[np.uint8]], Any]) -> Problems:
        return _decode_all(listing.root, files, preprocessing, take, progress)

    shape = (preprocessing["channels"], *preprocessing["size"])
    if len(files) * math.prod(shape) > memory:
        return cached_pictures(listing.root, files, preprocessing, write, cache)
    images = np.empty((len(files), *shape), np.uint8)
    rows = iter(images)
    wrong = write(lambda image: np.copyto(next(rows), image))
    return images[: len(files) - len(wrong)], wrong


def _decode_all(
    root: str,
    files: Sequence[str],
    preprocessing: Mapping[str, Any],
    take: Callable[[npt.NDArray[np.uint8]], Any],
    progress: Progress | None,
) -> Problems:
    wrong: Problems = {}
    for k, (path, decoded) in enumerate(decode_in_order(files, preprocessing)):
        if isinstance(decoded, DataError):
            wrong[k] = str(decoded).removeprefix(f"{path}: ")
        else:
            take(decoded)
        if progress is not None:
            progress(root, k + 1, len(files))
    return wrong


def _problems(listing: Listing, wrong: Problems, labels: npt.NDArray[np.int64]) -> list[Problem]:
    """Everything that cannot be used, by path; a class is one when nothing of it is left."""
    found = listing.problems + [Problem(listing.files[k], reason) for k, reason in wrong.items()]
    counts = np.bincount(labels, minlength=len(listing.classes))
    for name, count in zip(listing.classes, counts, strict=True):
        folder = os.path.join(listing.root, name)
        if count == 0 and not any(p.path == folder for p in found):
            reason = "a class without a picture that can be used; add pictures or remove the folder"
            found.append(Problem(folder, reason))
    return sorted(found)


def _problems_text(root: str, problems: Sequence[Problem]) -> str:
    lines = [str(problem) for problem in problems[:SHOWN]]
    if len(problems) == 1:
        return f'{lines[0]}; on_error="skip" (--on-error skip) goes on without it'
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN:,} more")
    head = f'{root}: {len(problems):,} problems; on_error="skip" (--on-error skip) goes on without'
    return "\n  ".join([head, *lines])


def _with_classes(part: ImageFolder, train: ImageFolder) -> Dataset:
    """The images of one part with the class numbers of the training part."""
    if unknown := [name for name in part.classes if name not in train.classes]:
        raise DataError(
            f"{part.root}: has the classes {', '.join(unknown[:5])}, which {train.root} has not; "
            "a class needs pictures to learn from"
        )
    numbers = np.array([train.classes.index(name) for name in part.classes], np.int64)
    return Dataset(part.images, numbers[part.labels], train.classes)
