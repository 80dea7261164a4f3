"""Photos in a folder for each class: every file is opened and looked at."""

import hashlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..data.decoding import in_order
from ..data.errors import DataError
from ..data.folders import Listing, find_parts, is_picture_name, list_classes
from ..data.pictures import quiet_pillow, whole_picture
from ..threads import get_num_threads
from .classes import check_classes
from .copies import ALIKE, CUT, MIRRORED, Sample, find_copies
from .findings import Finding, Report
from .fingerprint import MIDDLES, Fingerprint, View, fingerprint
from .neighbours import alike_leaders, gather

SMALL = 32  # pixels of the shorter side below which a photo is very small
LONG = 4  # times the shorter side from which on a photo is very long
FLAT = 2  # grey levels between the darkest and the brightest spot of a picture of one colour
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
ENDINGS = {
    "JPEG": JPEG, "MPO": JPEG, "PNG": (".png",), "BMP": (".bmp", ".dib"), "DIB": (".bmp", ".dib"),
    "GIF": (".gif",), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "PPM": (".pgm", ".ppm", ".pnm"),
}  # fmt: skip
# First bytes of files that are pictures whatever their names say.
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n": "PNG", b"GIF8": "GIF", b"II*\0": "TIFF",
         b"MM\0*": "TIFF", b"RIFF": "WEBP"}  # fmt: skip

Progress = Callable[[str, int, int], None]


class Photo(NamedTuple):
    """One readable picture file."""

    format: str
    size: tuple[int, int]
    content: bytes
    print: Fingerprint


def check_photos(root: str, progress: Progress | None = None) -> Report:
    """What is wrong with the photos below `root`.

    Parameters
    ----------
    root : str
        As for `ImageFolder`: a folder for each class, or `train/`, `val/`, `test/` with them.
    progress : callable, optional
        Called as progress(root, files looked at, files in all).

    Raises
    ------
    DataError
        There are no class folders, or they cannot be listed.
    """
    report = Report(root, "photos")
    folders = find_parts(root) or {"train": root}
    listings = {
        "val" if part == "validation" else part: list_classes(path)
        for part, path in folders.items()
    }
    files = [
        (path, part, listing.classes[label])
        for part, listing in listings.items()
        for path, label in zip(listing.files, listing.labels, strict=True)
    ]
    samples, prints = _look_at_all(files, report, progress)
    report.findings += find_copies(samples, links_of(prints))
    for part, listing in listings.items():
        _pass_over(listing, report)
        report.counts[part] = dict.fromkeys(listing.classes, 0)
    for sample in samples:
        report.counts[sample.part][sample.label] += 1
    report.findings += check_classes(report.counts)
    return report


def _look_at_all(
    files: list[tuple[str, str, str]], report: Report, progress: Progress | None
) -> tuple[list[Sample], list[Fingerprint]]:
    """What can be read of the (path, part, class) in `files`; findings go to the report."""
    samples: list[Sample] = []
    prints: list[Fingerprint] = []
    with quiet_pillow():
        looked_at = in_order(_look, (path for path, _, _ in files), get_num_threads())
        for k, ((path, part, label), found) in enumerate(zip(files, looked_at, strict=True)):
            if isinstance(found, DataError):
                reason = str(found).removeprefix(f"{path}: ")
                report.findings.append(Finding("unreadable", (path,), reason, (label,), (part,)))
            else:
                samples.append(Sample(path, part, label, found.content, found.print.pixels))
                prints.append(found.print)
                report.findings += _oddities(path, part, label, found)
            if progress is not None:
                progress(report.data, k + 1, len(files))
    return samples, prints


def _look(path: str) -> Photo | DataError:
    """Read one file to its end; everything that is kept of it is small."""
    try:
        picture, kind = whole_picture(path)
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()[:16]
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{path}: cannot be read: {error.strerror}")
    return Photo(kind, picture.size, content, fingerprint(picture))


def _oddities(path: str, part: str, label: str, photo: Photo) -> list[Finding]:
    """What is odd about one picture by itself."""
    short, long = sorted(photo.size)
    ending = os.path.splitext(path)[1].lower()
    shape = f"{photo.size[0]}×{photo.size[1]}"
    found = {
        "misnamed": f"is a {photo.format} file"
        if ending not in ENDINGS.get(photo.format, ()) else "",
        "very_small": shape if short < SMALL else "",
        "very_long": shape if long > LONG * short else "",
        "blank": "one colour" if is_flat(photo.print) else "",
    }  # fmt: skip
    return [
        Finding(kind, (path,), detail, (label,), (part,))
        for kind, detail in found.items()
        if detail
    ]


def is_flat(one: Fingerprint) -> bool:
    """Whether a picture is of one colour, or as good as that."""
    low, high = int(one.whole.thumbnail.min()), int(one.whole.thumbnail.max())
    return high - low <= FLAT


def links_of(prints: list[Fingerprint]) -> dict[str, list[tuple[int, int]]]:
    """Positions of pictures that are alike but for their pixels, by how they are alike."""
    first: dict[bytes, int] = {}
    for k, one in enumerate(prints):
        first.setdefault(one.pixels, k)
    chosen = list(first.values())

    def arrays(views: list[View]) -> tuple[Any, Any]:
        codes = np.array([view.code for view in views], np.uint64)
        return codes, np.array([view.thumbnail for view in views], np.uint8)

    def named(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(chosen[a], chosen[b]) for a, b in pairs]

    if not chosen:
        return {}
    whole = arrays([prints[k].whole for k in chosen])
    leaders, pairs = gather(*whole)
    links = {ALIKE: named(pairs + alike_leaders(leaders, *whole))}
    mirrored = arrays([prints[k].mirrored for k in chosen])
    links[MIRRORED] = named(alike_leaders(leaders, *whole, *mirrored))
    links[CUT] = []
    for m in range(len(MIDDLES)):
        middle = arrays([prints[k].middles[m] for k in chosen])
        links[CUT] += named(alike_leaders(leaders, *whole, *middle))
    return links


def _pass_over(listing: Listing, report: Report) -> None:
    """What was not decoded: folders that cannot be read, hidden files, foreign ones."""
    report.findings += [Finding("unreadable", (path,), why) for path, why in listing.problems]
    report.hidden += listing.hidden
    for path in listing.foreign:
        kind = None if is_picture_name(path) else _sniff(path)
        if kind is None:
            report.foreign.append(path)
        else:
            detail = f"is a {kind} file, and passed over because of its name"
            report.findings.append(Finding("misnamed", (path,), detail))


def _sniff(path: str) -> str | None:
    """The format of a picture by its first bytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return None
    for magic, kind in MAGIC.items():
        if head.startswith(magic) and (kind != "WEBP" or head[8:] == b"WEBP"):
            return kind
    return None
