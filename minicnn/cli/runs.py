"""`minicnn runs`: what was trained so far, best first, or some runs side by side."""

import argparse
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, blaming, os_error_text

if TYPE_CHECKING:
    from .run_facts import RunFacts

RESULTS = ("val_accuracy", "test_accuracy", "val_loss", "temperature", "calibration_error",
           "calibration_error_before", "best_epoch", "epochs", "parameters", "seconds", "started",
           "stopped", "complete")  # fmt: skip
SHARES = ("val_accuracy", "test_accuracy", "calibration_error", "calibration_error_before")
LONGEST = 16  # letters of the data's name in the table
# What the table loses first where the terminal is narrow.
DISPENSABLE = ("started (UTC)", "time", "arch", "val loss", "epoch")


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "runs", help="compare runs", allow_abbrev=False,
        description="A table of all runs in a folder, those on the same data together and the "
        "best of them first, marked *. With several RUNs: side by side, first the settings that "
        "differ, then the results.",
    )  # fmt: skip
    add = parser.add_argument
    add("folders", nargs="*", metavar="DIR|RUN", help="folder with runs (runs), or several runs")
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table or the comparison."""
    console = Console(arguments.json)
    if len(arguments.folders) > 1:
        _compare(arguments.folders, console)
    else:
        _list(arguments.folders, console)
    return ExitCode.DONE


def _list(folders: list[str], console: Console) -> None:
    from ..runs import PARENT
    from .run_facts import find_runs, read_facts

    with blaming(ExitCode.MODEL):
        found = find_runs(folders[0] if folders else PARENT)
    facts, damaged = [], []
    for folder in found:
        try:
            facts.append(read_facts(folder))
        except (ValueError, TypeError, OSError) as error:
            text = os_error_text(error) if isinstance(error, OSError) else str(error)
            damaged.append({"run": str(folder.folder), "error": text})
    facts.sort(key=_rank)
    best = _best(facts)
    if facts:
        console.result(_table(facts, best))
    for entry in damaged:
        console.warn(f"note: left out: {entry['error']}")
    runs = [{**entry.as_dict(), "best": entry.run in best} for entry in facts]
    console.result_object({"runs": runs, "damaged": damaged})


def _rank(facts: "RunFacts") -> tuple[Any, ...]:
    """Runs on the same data together, the best first; of equals that with the smaller loss."""
    accuracy = -1 if facts.val_accuracy is None else facts.val_accuracy
    loss = float("inf") if facts.val_loss is None else facts.val_loss
    return facts.data, -accuracy, loss, facts.run


def _best(facts: list["RunFacts"]) -> set[str]:
    """The first complete run on each data, where there are several: one is not best of itself."""
    by_data: dict[str, list[str]] = {}
    for entry in facts:
        if entry.complete:
            by_data.setdefault(entry.data, []).append(entry.run)
    return {runs[0] for runs in by_data.values() if len(runs) > 1}


def _table(facts: list["RunFacts"], best: set[str]) -> str:
    columns: dict[str, list[str]] = {
        "run": [os.path.basename(entry.run) for entry in facts],
        "data": [_cut(os.path.basename(entry.data)) for entry in facts],
        "arch": [_cut(os.path.basename(_shown(entry, "arch"))) for entry in facts],
        "epoch": [f"{_shown(entry, 'best_epoch')}/{entry.epochs}" for entry in facts],
    }
    for head, name in (("val %", "val_accuracy"), ("test %", "test_accuracy"),
                       ("val loss", "val_loss"), ("ECE %", "calibration_error"),
                       ("T", "temperature")):  # fmt: skip
        columns[head] = [_shown(entry, name).removesuffix(" %") for entry in facts]
    columns["time"] = [_time(entry.seconds) for entry in facts]
    columns["started (UTC)"] = [_shown(entry, "started")[5:] or "-" for entry in facts]
    marks = [
        "*best" if entry.run in best else "" if entry.complete else "not complete"
        for entry in facts
    ]
    columns[""] = [mark.ljust(max(map(len, marks))) for mark in marks]
    return _fitting(columns)


def _fitting(columns: dict[str, list[str]]) -> str:
    """The table; on a terminal without the columns for which there is no room."""
    from .text import table

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for name in (None, *DISPENSABLE):
        columns = {head: cells for head, cells in columns.items() if head != name}
        left = sum(head in columns for head in ("run", "data", "arch"))
        text = table([list(columns), *zip(*columns.values(), strict=True)], left=left)
        if not width or max(map(len, text.splitlines())) <= width:
            break
    return text


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _time(seconds: float) -> str:
    from .text import duration

    if seconds < 10:
        return f"{seconds:.1f} s" if seconds else "-"
    return duration(seconds)


def _shown(entry: "RunFacts", name: str) -> str:
    """One result or setting in words."""
    from .text import percent

    value = getattr(entry, name) if name in RESULTS else entry.settings.get(name)
    if value is None:
        return "digits" if name == "data" else "-"
    if name in SHARES:
        return percent(value)
    if name == "started":
        return str(value)[:16].replace("T", " ")
    if name == "complete":
        return "yes" if value else "no"
    form = {"val_loss": ".4f", "temperature": ".2f", "seconds": ",.1f", "parameters": ","}
    return format(value, form.get(name, ""))


def _compare(folders: list[str], console: Console) -> None:
    from ..runs import RunFolder
    from .run_facts import read_facts
    from .text import table

    with blaming(ExitCode.MODEL):
        facts = [read_facts(RunFolder(folder)) for folder in folders]
    names = list(dict.fromkeys(name for entry in facts for name in entry.settings))
    differ = [
        name for name in names if any(e.settings.get(name) != facts[0].settings.get(name)
                                      for e in facts)
    ]  # fmt: skip
    head = ["", *(entry.run for entry in facts)]
    for title, shown in (("settings that differ", differ), ("results", RESULTS)):
        rows = [[name, *(_shown(entry, name) for entry in facts)] for name in shown]
        console.result(title if rows else "all settings are the same")
        console.result(table([head, *rows], left=1) + "\n" if rows else "")
    console.result_object(
        {"settings_that_differ": differ, "runs": [entry.as_dict() for entry in facts]}
    )
