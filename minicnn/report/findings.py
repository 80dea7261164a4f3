"""What is wrong with the data, in a few lines: `minicnn check` tells the rest."""

import os
import shlex
from collections.abc import Iterator

from ..inspection.findings import KINDS, Finding, Report
from .facts import Facts
from .markup import Content, Markup, name, plural, table, tag

NAMED = 3  # findings of each kind that are named
COPIES = 3  # of one picture that are named
PARTS = {"train": "training", "val": "validation", "test": "test"}


def found_in_data(facts: Facts) -> Content:
    """How many findings of each kind there are, and the first of them by name."""
    report = facts.inspection
    if report is None:
        return None
    command = f"minicnn check {shlex.quote(facts.data)}"
    present = [kind for kind in KINDS if report.of(kind)]
    parts: list[Content] = [tag("h3", "What is wrong with them"), _scope(report, command)]
    if not present:
        return [*parts, tag("p", "Nothing was found.")]
    rows = [
        [tag("span", KINDS[kind].severity, class_="wrong" if KINDS[kind].severity == "error" else
             None), plural(len(report.of(kind)), KINDS[kind].one, KINDS[kind].many),
         list(_named(report, kind)), KINDS[kind].advice]
        for kind in present
    ]  # fmt: skip
    return [*parts, table(["", "what", "which", "what to do"], rows, text=4)]


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


def _named(report: Report, kind: str) -> Iterator[Content]:
    found = report.of(kind)
    for finding in found[:NAMED]:
        yield tag("div", _joined(report, finding))
    if len(found) > NAMED:
        yield tag("div", f"and {len(found) - NAMED:,} more")


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
        yield tag("small", ": " + "; ".join(words))


def _within(root: str, item: str) -> str:
    return os.path.relpath(item, root) if item.startswith(root.rstrip(os.sep) + os.sep) else item
