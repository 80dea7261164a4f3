"""Pictures that are there more than once, and what that means for training."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .findings import Finding

SAME_FILE, SAME_PIXELS, ALIKE = "the same file", "the same pixels", "almost the same picture"


class Sample(NamedTuple):
    """One usable picture.

    Attributes
    ----------
    name : str
        Its path, or its place in an array.
    part, label : str
        "train", "val" or "test"; the class.
    content, pixels : bytes
        Digests of the file and of the decoded picture.
    """

    name: str
    part: str
    label: str
    content: bytes
    pixels: bytes


def find_copies(samples: Sequence[Sample], pairs: Iterable[tuple[int, int]]) -> list[Finding]:
    """Findings for all groups of copies.

    Parameters
    ----------
    samples : sequence of Sample
    pairs : iterable of (int, int)
        Positions of samples that are alike, without those whose pixels are the same.
    """
    first: dict[bytes, int] = {}
    same = [(first.setdefault(s.pixels, k), k) for k, s in enumerate(samples)]
    findings = []
    for members in _connected([(a, b) for a, b in same if a != b] + list(pairs)):
        findings += _judge([samples[k] for k in members])
    return findings


def _connected(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The groups that pairs connect, each in increasing order."""
    parent: dict[int, int] = {}

    def root(k: int) -> int:
        parent.setdefault(k, k)
        while parent[k] != k:
            parent[k] = parent[parent[k]]  # shortens the way for the next one
            k = parent[k]
        return k

    for a, b in pairs:
        parent[root(b)] = root(a)
    groups = defaultdict(list)
    for k in sorted(parent):
        groups[root(k)].append(k)
    return list(groups.values())


def _judge(group: list[Sample]) -> list[Finding]:
    """Across classes and parts copies do harm; within one they are told by how alike they are."""
    items = tuple(sample.name for sample in group)
    classes = tuple(dict.fromkeys(sample.label for sample in group))
    parts = tuple(dict.fromkeys(sample.part for sample in group))
    detail = ALIKE
    if len({sample.pixels for sample in group}) == 1:
        detail = SAME_PIXELS if len({sample.content for sample in group}) > 1 else SAME_FILE
    kinds = ["two_classes"] * (len(classes) > 1) + ["two_parts"] * (len(parts) > 1)
    plain = "near_duplicate" if detail == ALIKE else "duplicate"
    return [Finding(kind, items, detail, classes, parts) for kind in kinds or [plain]]
