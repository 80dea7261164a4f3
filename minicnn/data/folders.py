"""Which files in a folder are pictures of which class, by their names; nothing is opened here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import DataError

ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .webp .tif .tiff .pgm .ppm .pnm".split()
)
# How the folders of data that are divided already may be called.
PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


class Problem(NamedTuple):
    """A file or folder that cannot be used, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass
class Listing:
    """The pictures below a folder that holds one folder for each class.

    Attributes
    ----------
    root : str
    classes : list of str
        Names of the class folders, sorted by code point.
    files, labels : list of str, list of int
        Paths, sorted within each class, and positions in `classes`.
    problems : list of Problem
        Folders that cannot be read, or lead in a circle.
    hidden, foreign : list of str
        Paths that were passed over: names with a leading dot; no picture by the ending.
    """

    root: str
    classes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def is_picture_name(path: str) -> bool:
    """Whether the name ends like that of a picture."""
    return os.path.splitext(path)[1].lower() in ENDINGS


def list_classes(root: str) -> Listing:
    """Find the pictures of each class below `root`, at any depth; links are followed.

    Raises
    ------
    DataError
        `root` cannot be read or holds no class folders, or a class has a name that is no text.
    """
    listing = Listing(root)
    loose = []
    for name in _names(root):
        path = os.path.join(root, name)
        if name.startswith("."):
            listing.hidden.append(path)
        elif os.path.isdir(path):
            _check_class_name(root, name)
            listing.classes.append(name)
        else:
            loose.append(path)
    if not listing.classes:
        got = "pictures" if any(map(is_picture_name, loose)) else "nothing"
        raise DataError(
            f"{root}: holds {got} but no folder for each class; put the pictures of each class "
            "into a folder with the name of the class"
        )
    listing.foreign += loose
    for label, name in enumerate(listing.classes):
        for path in walk_pictures(os.path.join(root, name), listing):
            listing.files.append(path)
            listing.labels.append(label)
    return listing


def walk_pictures(folder: str, listing: Listing) -> Iterator[str]:
    """Paths of the pictures below `folder`, in the order of their names, one after the other.

    What is passed over is added to `listing`. A link to a folder that the link is in would never
    end; it is a problem.
    """
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(folder, ())]
    while waiting:
        path, above = waiting.pop()
        if os.path.basename(path).startswith(".") and above:
            listing.hidden.append(path)
        elif not os.path.isdir(path):
            if is_picture_name(path):
                yield path
            else:
                listing.foreign.append(path)
        else:
            try:
                status = os.stat(path)
                names = sorted(os.listdir(path), reverse=True)
            except OSError as error:
                listing.problems.append(Problem(path, f"cannot be read: {error.strerror}"))
                continue
            here = (status.st_dev, status.st_ino)
            if here in above:
                reason = "is a link to a folder that it is in, which never ends; remove the link"
                listing.problems.append(Problem(path, reason))
                continue
            waiting += [(os.path.join(path, name), (*above, here)) for name in names]


def find_parts(root: str) -> dict[str, str]:
    """The folders of data that are divided already, by part; empty when `root` is not divided.

    It is when it has a folder `train` with folders and without pictures: a class may be called
    "train" as well.

    Raises
    ------
    DataError
        `root` cannot be read, or has several folders for one part.
    """
    folders = [name for name in _names(root) if os.path.isdir(os.path.join(root, name))]
    if "train" not in folders:
        return {}
    inside = [os.path.join(root, "train", name) for name in _names(os.path.join(root, "train"))]
    if any(map(is_picture_name, inside)) or not any(map(os.path.isdir, inside)):
        return {}
    parts = {}
    for part, spellings in PARTS.items():
        present = [name for name in spellings if name in folders]
        if len(present) > 1:
            raise DataError(f"{root}: has both {' and '.join(present)}; keep one of them")
        if present:
            parts[part] = os.path.join(root, present[0])
    return parts


def may_hold_photos(root: str) -> bool:
    """Whether there is a folder or a picture in `root`, not counting what is hidden."""
    return any(
        name[0] != "." and (is_picture_name(name) or os.path.isdir(os.path.join(root, name)))
        for name in _names(root)
    )


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error


def _check_class_name(root: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{root}: the folder {os.fsencode(name)!r} has a name that is not UTF-8 text, so it "
            "cannot be the name of a class; rename it"
        ) from None
