"""Data in arrays: digits, IDX files, NumPy archives."""

import hashlib

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
            numbers = np.bincount(part.labels, minlength=len(part.classes)).tolist()
            report.counts[name] = dict(zip(part.classes, numbers, strict=True))
            samples += _samples(name, part)
            report.findings += _blank(name, part)
    report.findings += find_copies(samples, ())
    report.findings += check_classes(report.counts)
    return report


def _samples(name: str, part: Dataset) -> list[Sample]:
    samples = []
    for k, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        samples.append(Sample(f"{name}[{k}]", name, part.classes[label], digest, digest))
    return samples


def _blank(name: str, part: Dataset) -> list[Finding]:
    flat = part.images.reshape(len(part.images), -1)
    blank = np.flatnonzero(flat.min(axis=1) == flat.max(axis=1)).tolist()
    return [
        Finding("blank", (f"{name}[{k}]",), "", (part.classes[part.labels[k]],), (name,))
        for k in blank
    ]
