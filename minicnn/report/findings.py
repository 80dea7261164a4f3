"""What is wrong with the data, in a few lines: `minicnn check` tells the rest."""

import os
import shlex
from collections.abc import Iterator

from ..inspection.findings import KINDS, Finding, Report
from .facts import Facts
from .markup import Content, Markup, name, plural, tag

NAMED = 3  # findings of each kind that are named
COPIES = 3  # of one picture that are named
PARTS = {"train": "training", "val": "validation", "test": "test"}


def found_in_data(facts: Facts) -> Content:
    """How many findings of each kind there are, and the first of them by name."""
    report = facts.inspection
    if report is None:
        return None
    command = f"minicnn check {shlex.quote(facts.data)}"
    parts: list[Content] = [tag("h3", "What is wrong with them"), _scope(report, command)]
    if not report.findings:
        return [*parts, tag("p", "Nothing was found.")]
    return parts + [_told(report, kind) for kind in KINDS if report.of(kind)]


def _told(report: Report, kind: str) -> Content:
    """Findings of one kind: how many, the first of them, and what to do."""
    meaning, found = KINDS[kind], report.of(kind)
    severity = tag("b", meaning.severity, class_="wrong" if meaning.severity == "error" else None)
    count = plural(len(found), meaning.one, meaning.many)
    lines = [tag("li", _joined(report, finding)) for finding in found[:NAMED]]
    if len(found) > NAMED:
        lines.append(tag("li", f"and {len(found) - NAMED:,} more"))
    advice = tag("p", f"{meaning.advice[0].upper()}{meaning.advice[1:]}.", class_="note")
    return [tag("p", severity, f": {count}", class_="found"), tag("ul", lines), advice]


def _scope(report: Report, command: str) -> Markup:
    """What was compared, and what was not."""
    text: list[Content] = ["Looked at as the training had them: decoded, and in these parts. "]
    if "near_duplicate" in report.skipped:
        text.append("Only pictures with the very same pixels are told as copies. ")
    else:
        text.append("Copies are told also where they were saved differently, mirrored, or have "
                    "lost their edges. ")  # fmt: skip
    if report.source == "photos":
        text += [tag("code", command), " opens every file, and tells also wrong names and odd "
                 "sizes."]  # fmt: skip
    return tag("p", text, class_="note")


def _joined(report: Report, finding: Finding) -> Iterator[Content]:
    """a = b = c, and how alike they are; the places within the data."""
    for k, item in enumerate(finding.items[:COPIES]):
        yield " = " if k else ""
        yield name(_within(report.data, item))
    if len(finding.items) > COPIES:
        yield f" and {len(finding.items) - COPIES:,} more"
    words = [finding.detail] if finding.detail else []
    if finding.kind == "two_parts":
        words.append(" and ".join(PARTS[part] for part in finding.parts))
    if words:
        yield tag("small", f" ({'; '.join(words)})")


def _within(root: str, item: str) -> str:
    return os.path.relpath(item, root) if item.startswith(root.rstrip(os.sep) + os.sep) else item
