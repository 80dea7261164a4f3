"""Data as a training uses them: decoded, and divided into its parts.

What costs nothing beside a training: no file is opened again. Copies are looked for among the
pictures as the model sees them, and across the very parts by which it is judged.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.decoding import in_order
from ..threads import get_num_threads
from .arrays import count_classes, find_blank, samples_of
from .classes import check_classes
from .copies import Sample, find_copies
from .findings import Finding, Report
from .fingerprint import SIDE, Fingerprint, fingerprint
from .photos import is_flat, links_of

MOST = 50_000  # photos up to which those that are alike are looked for
FILES = ("misnamed", "very_small", "very_long")  # what only the files tell
NEAR = "near_duplicate"


def check_divided(
    data: str,
    parts: Mapping[str, Dataset],
    names: Mapping[str, Sequence[str]],
    photos: bool,
    problems: Sequence[tuple[str, str]] = (),
) -> Report:
    """What is wrong with data that are decoded and divided.

    Photos up to MOST of at least SIDE pixels are compared as `check_photos` compares them, but in
    the size that they were decoded to. Of more, of smaller ones and of arrays, only those with
    the same pixels are told.

    Parameters
    ----------
    data : str
        Its name or path.
    parts : dict
        "train", "val", "test" -> Dataset.
    names : dict
        The same -> what each image is called.
    photos : bool
        Whether the images are decoded photos.
    problems : sequence of (path, reason)
        What could not be read and was left out.
    """
    total = sum(len(part.labels) for part in parts.values())
    near = photos and total <= MOST and min(parts["train"].images.shape[2:]) >= SIDE
    report = Report(data, "photos" if photos else "arrays")
    report.skipped = (*(FILES if photos else ()), *(() if near else (NEAR,)))
    report.findings += [Finding("unreadable", (path,), reason) for path, reason in problems]
    samples: list[Sample] = []
    prints: list[Fingerprint] = []
    for name, part in parts.items():
        report.counts[name] = count_classes(part)
        samples += samples_of(name, part, names[name])
        if near:
            prints += in_order(_fingerprint, part.images, get_num_threads())
        else:
            report.findings += find_blank(name, part, names[name])
    report.findings += [
        Finding("blank", (sample.name,), "one colour", (sample.label,), (sample.part,))
        for sample, one in zip(samples, prints, strict=near)
        if is_flat(one)
    ]
    report.findings += find_copies(samples, links_of(prints))
    report.findings += check_classes(report.counts)
    return report


def _fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    from PIL import Image

    return fingerprint(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
