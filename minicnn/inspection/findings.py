"""What can be found, how serious it is, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FORMAT = 1  # of the JSON object


class Kind(NamedTuple):
    """One thing that can be wrong with data.

    Attributes
    ----------
    severity : "error" or "warning"
        Of an error the training stops, or its figures are not true.
    one, many : str
        What was found, after a count of one and of several.
    advice : str
        What to do.
    """

    severity: str
    one: str
    many: str
    advice: str


# In the order in which they are told.
KINDS = {
    "unreadable": Kind(
        "error", "file or folder cannot be read", "files or folders cannot be read",
        "copy them again or remove them; train --on-error skip leaves them out",
    ),
    "one_class": Kind(
        "error", "class is all there is", "classes are all there is",
        "a classifier needs two at least: a folder for each class",
    ),
    "empty_class": Kind(
        "error", "class is empty", "classes are empty", "add pictures, or remove the class",
    ),
    "unknown_class": Kind(
        "error", "class is not in the training part", "classes are not in the training part",
        "a class needs pictures to learn from; look for a misspelt folder",
    ),
    "two_classes": Kind(
        "error", "picture is in two classes", "pictures are in two classes",
        "decide which class is right and remove the other copies: one of them teaches "
        "something wrong",
    ),
    "two_parts": Kind(
        "error", "picture is in two parts", "pictures are in two parts",
        "keep one copy: a model that has learnt a picture by heart is not judged by it",
    ),
    "tiny_class": Kind(
        "warning", "class is tiny", "classes are tiny",
        "add pictures: the accuracy of such a class says little",
    ),
    "imbalance": Kind(
        "warning", "class is much smaller than the largest one",
        "classes are much smaller than the largest one",
        "add pictures, or train with --class-weight balanced",
    ),
    "duplicate": Kind(
        "warning", "picture is there more than once", "pictures are there more than once",
        "keep one copy: when the data are divided by chance, one may be learnt and the other "
        "judged",
    ),
    "near_duplicate": Kind(
        "warning", "picture is there again, saved differently",
        "pictures are there again, saved differently",
        "look at them; where it is the same photo, keep the best copy",
    ),
    "misnamed": Kind(
        "warning", "name does not fit the content", "names do not fit the content",
        "rename: minicnn goes by the content, but passes over what has no picture's ending",
    ),
    "blank": Kind(
        "warning", "picture is of one colour", "pictures are of one colour",
        "look at them; there is nothing to learn from",
    ),
    "very_small": Kind(
        "warning", "picture is very small", "pictures are very small",
        "look at them; icons and thumbnails are blurred when they are enlarged",
    ),
    "very_long": Kind(
        "warning", "picture is very long or high", "pictures are very long or high",
        "crop them: a picture is stretched to the shape that the model takes",
    ),
}  # fmt: skip


class Finding(NamedTuple):
    """One thing that was found.

    Attributes
    ----------
    kind : str
        A key of KINDS.
    items : tuple of str
        Files, places in arrays ("train[17]"), or classes.
    detail : str
        The reason, a figure, or how alike several items are; may be empty.
    classes, parts : tuple of str
        Those that the items are in; empty where it does not matter.
    """

    kind: str
    items: tuple[str, ...]
    detail: str = ""
    classes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As it is in the JSON object."""
        return {
            "kind": self.kind,
            "severity": KINDS[self.kind].severity,
            "items": list(self.items),
            "detail": self.detail,
            "classes": list(self.classes),
            "parts": list(self.parts),
        }


@dataclass
class Report:
    """Everything about one source of data.

    Attributes
    ----------
    data : str
        Its name or path.
    source : "photos" or "arrays"
    counts : dict
        part -> class -> usable pictures.
    findings : list of Finding
    hidden, foreign : list of str
        Files that were passed over: hidden, or no picture by name and content.
    skipped : sequence of str
        Kinds that were not looked for.
    """

    data: str
    source: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    skipped: Sequence[str] = ()

    @property
    def total(self) -> int:
        """Usable pictures in all parts and classes."""
        return sum(sum(part.values()) for part in self.counts.values())

    def of(self, kind: str) -> list[Finding]:
        """The findings of one kind, by their items."""
        return sorted(finding for finding in self.findings if finding.kind == kind)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object; names are only ever added to it while FORMAT stays."""
        ordered = [finding for kind in KINDS for finding in self.of(kind)]
        return {
            "format": FORMAT,
            "data": self.data,
            "source": self.source,
            "images": self.total,
            "counts": self.counts,
            "clean": not ordered,
            "summary": {kind: n for kind in KINDS if (n := len(self.of(kind)))},
            "findings": [finding.as_dict() for finding in ordered],
            "passed_over": {"hidden": self.hidden, "foreign": self.foreign},
            "not_looked_for": list(self.skipped),
        }
