"""`minicnn check`: what is wrong with data, which files, and what to do."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, blaming
from .photos import Decoding
from .values import whole

if TYPE_CHECKING:
    from ..inspection.findings import Finding, Report

SHOWN = 10  # findings of one kind, and copies of one picture, that the text lists


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "check", help="find what is wrong with data", allow_abbrev=False,
        description="Broken, misnamed and odd files, pictures that are there twice (also in two "
        "classes or in two parts), classes that are empty, tiny or of very different sizes. Ends "
        "with code 3 when something was found, with 0 when not.",
    )  # fmt: skip
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="as for train; default: digits")
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    add("--json", action="store_true", help="one JSON object on stdout, with all findings")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything, print what was found."""
    console = Console(arguments.json)
    with Decoding(console) as decoding:
        report = _inspect(arguments.data, decoding)
    console.result_object(report.as_dict())
    if not console.as_json:
        _print(report, console)
    return ExitCode.DATA if report.findings else ExitCode.DONE


def _inspect(data: str | None, progress: Decoding) -> "Report":
    from ..data.folders import may_hold_photos
    from ..data.idx import find_idx
    from ..inspection.arrays import check_arrays
    from ..inspection.photos import check_photos
    from .job import open_data

    with blaming(ExitCode.DATA):
        if (
            data is not None
            and os.path.isdir(data)
            and not find_idx(data)
            and may_hold_photos(data)
        ):
            return check_photos(data, progress)
    return check_arrays(open_data(data))


def _print(report: "Report", console: Console) -> None:
    from ..inspection.findings import KINDS
    from .text import plural, table

    parts = list(report.counts)
    names = list(dict.fromkeys(name for part in parts for name in report.counts[part]))
    console.result(
        f"{report.data}  {plural(report.total, 'usable picture')}  "
        f"{plural(len(names), 'class', 'classes')}\n"
    )
    rows = [["class", *parts]]
    rows += [[name, *(f"{report.counts[part].get(name, 0):,}" for part in parts)] for name in names]
    console.result(table(rows) + "\n")
    for name, kind in KINDS.items():
        if found := report.of(name):
            console.result(f"{kind.severity}: {plural(len(found), kind.one, kind.many)}")
            console.result("\n".join(_lines(found)))
            console.result(f"  -> {kind.advice}\n")
    if report.hidden or report.foreign:
        hidden = plural(len(report.hidden), "hidden file or folder", "hidden files or folders")
        foreign = plural(
            len(report.foreign), "file that is no picture", "files that are no pictures"
        )
        console.result(f"passed over: {hidden}, {foreign}")
    counts = [
        plural(sum(KINDS[f.kind].severity == severity for f in report.findings), severity)
        for severity in ("error", "warning")
    ]
    console.result(" and ".join(counts) if report.findings else "nothing is wrong")


def _lines(found: list["Finding"]) -> list[str]:
    """Each finding with its items; the rest as a number."""
    lines = []
    for finding in found[:SHOWN]:
        first, *others = finding.items
        lines.append(f"  {first}{': ' * bool(finding.detail)}{finding.detail}")
        lines += [f"    = {item}" for item in others[: SHOWN - 1]]
        if len(others) >= SHOWN:
            lines.append(f"    = {len(others) - SHOWN + 1:,} more")
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN:,} more; --json lists all")
    return lines
