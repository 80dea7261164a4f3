"""Data in arrays: digits, IDX files, NumPy archives."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ..data.dataset import Dataset, Splits
from .classes import check_classes
from .copies import Sample, find_copies
from .findings import Finding, Report


def check_arrays(splits: Splits) -> Report:
    """What is wrong with arrays: copies, pictures of one colour, and the classes' sizes.

    Only exact copies are told: among pictures as small as digits many are alike.
    """
    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    report = Report(splits.name, "arrays")
    samples: list[Sample] = []
    for name, part in parts.items():
        if part is not None:
            names = [f"{name}[{k}]" for k in range(len(part.labels))]
            report.counts[name] = count_classes(part)
            samples += samples_of(name, part, names)
            report.findings += find_blank(name, part, names)
    report.findings += find_copies(samples, {})
    report.findings += check_classes(report.counts)
    return report


def count_classes(part: Dataset) -> dict[str, int]:
    """How many images of each class there are."""
    numbers = np.bincount(part.labels, minlength=len(part.classes)).tolist()
    return dict(zip(part.classes, numbers, strict=True))


def samples_of(name: str, part: Dataset, names: Sequence[str]) -> list[Sample]:
    """The images of one part by their pixels; `names` are what they are called."""
    samples = []
    for image, label, called in zip(part.images, part.labels.tolist(), names, strict=True):
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        samples.append(Sample(called, name, part.classes[label], called.encode(), digest))
    return samples


def find_blank(name: str, part: Dataset, names: Sequence[str]) -> list[Finding]:
    """The images of one part that are of one colour."""
    planes = part.images.reshape(*part.images.shape[:2], -1)
    blank = (planes.min(axis=2) == planes.max(axis=2)).all(axis=1)
    return [
        Finding("blank", (names[k],), "", (part.classes[part.labels[k]],), (name,))
        for k in np.flatnonzero(blank).tolist()
    ]
