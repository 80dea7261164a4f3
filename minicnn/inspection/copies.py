"""Pictures that are there more than once, and what that means for training."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .findings import Finding

SAME_FILE, SAME_PIXELS, ALIKE = "the same file", "the same pixels", "almost the same picture"
MIRRORED, CUT = f"{ALIKE}, mirrored", f"{ALIKE}, with its edges cut off"

Pairs = Iterable[tuple[int, int]]


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


def find_copies(samples: Sequence[Sample], links: Mapping[str, Pairs]) -> list[Finding]:
    """Findings for all groups of copies.

    Parameters
    ----------
    samples : sequence of Sample
    links : dict
        ALIKE, MIRRORED or CUT -> positions of samples that are alike in this way, without those
        whose pixels are the same. Mirror images in two classes are no copies: left and right may
        be what tells the classes apart.
    """
    first: dict[bytes, int] = {}
    same = [(first.setdefault(s.pixels, k), k) for k, s in enumerate(samples)]
    how: dict[tuple[int, int], str] = {}
    for kind, pairs in links.items():
        for a, b in pairs:
            if kind != MIRRORED or samples[a].label == samples[b].label:
                how.setdefault((a, b), kind)
    groups = _connected([(a, b) for a, b in same if a != b] + list(how))
    ways: dict[int, set[str]] = defaultdict(set)
    owner = {k: members[0] for members in groups for k in members}
    for (a, _), kind in how.items():
        ways[owner[a]].add(kind)
    findings = []
    for members in groups:
        findings += _judge([samples[k] for k in members], ways[members[0]])
    return findings


def _connected(pairs: Pairs) -> list[list[int]]:
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


def _judge(group: list[Sample], ways: set[str]) -> list[Finding]:
    """Across classes and parts copies do harm; within one they are told by how alike they are."""
    items = tuple(sample.name for sample in group)
    classes = tuple(dict.fromkeys(sample.label for sample in group))
    parts = tuple(dict.fromkeys(sample.part for sample in group))
    detail = next(iter(ways)) if len(ways) == 1 else ALIKE
    if len({sample.pixels for sample in group}) == 1:
        detail = SAME_PIXELS if len({sample.content for sample in group}) > 1 else SAME_FILE
    kinds = ["two_classes"] * (len(classes) > 1) + ["two_parts"] * (len(parts) > 1)
    plain = "duplicate" if detail in (SAME_FILE, SAME_PIXELS) else "near_duplicate"
    return [Finding(kind, items, detail, classes, parts) for kind in kinds or [plain]]
