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
    above = (_identity(os.stat(root)),)
    for label, name in enumerate(listing.classes):
        for path in walk_pictures(os.path.join(root, name), listing, above):
            listing.files.append(path)
            listing.labels.append(label)
    return listing


Identity = tuple[int, int]  # of a folder: the same for all links to it


def walk_pictures(folder: str, listing: Listing, above: tuple[Identity, ...] = ()) -> Iterator[str]:
    """Paths of the pictures below `folder`, in the order of their names, one after the other.

    What is passed over is added to `listing`. A link to a folder that the link is in, or to one
    of those `above` it, would never end; it is a problem.
    """
    waiting = _entries(folder, listing, above)
    while waiting:
        entry, inside = waiting.pop()
        if entry.name.startswith("."):
            listing.hidden.append(entry.path)
        elif _is_folder(entry):
            waiting += _entries(entry.path, listing, inside)
        elif is_picture_name(entry.name):
            yield entry.path
        else:
            listing.foreign.append(entry.path)


def _entries(
    folder: str, listing: Listing, above: tuple[Identity, ...]
) -> list[tuple["os.DirEntry[str]", tuple[Identity, ...]]]:
    """What is in a folder, the last name first, each with the folders that it is in."""
    try:
        here = _identity(os.stat(folder))
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        listing.problems.append(Problem(folder, f"cannot be read: {error.strerror}"))
        return []
    if here in above:
        reason = "is a link to a folder that it is in, which never ends; remove the link"
        listing.problems.append(Problem(folder, reason))
        return []
    inside = (*above, here)
    return [(entry, inside) for entry in found]


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder or a link to one; for most files no call of the system."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


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
