"""The two large tables: milliseconds of a training step, and of answers for a batch."""

import statistics
import sys
from contextlib import ExitStack
from typing import Any, NamedTuple

from .load import QUIET
from .modes import MODES, OURS, missing_packages, peers
from .tables import milliseconds, ratio
from .targets import best, fastest_ratios, misses, ratios, target_for, verdict
from .tasks import Task, multiply_adds
from .turns import Process, take_turns

OTHERS = f"CPU time taken by other programs; above {QUIET:.0%} a row decides nothing (?)"


class Settings(NamedTuple):
    """How to measure."""

    modes: list[str]  # of peers; none means all
    rounds: int
    seconds: float  # of a turn
    variants: dict[str, list[str]]  # where not all of a mode's are to be tried
    wait: float = 0.0  # seconds a row may wait for other programs to stop


class Row(NamedTuple):
    """What was found for one task."""

    task: Task
    threads: int
    times: dict[str, list[float]]  # milliseconds, one figure a round
    variants: dict[str, str]
    failures: dict[str, str]
    others: float = 0.0  # share of the CPU time that other programs took

    @property
    def disturbed(self) -> bool:
        return self.others > QUIET

    def median(self, name: str) -> float:
        return statistics.median(self.times[name])

    def peak_share(self, probe: float) -> float:
        """Of the multiply-add peak, `probe` GFLOP/s a core."""
        seconds = self.median(OURS.name) / 1e3
        return 2 * multiply_adds(self.task) / seconds / (probe * 1e9 * self.threads)

    def as_data(self) -> dict[str, Any]:
        found = ratios(self.times)
        return self._asdict() | {
            "task": self.task._asdict(),
            "ratios": found,
            "fastest_ratios": fastest_ratios(self.times),
            "misses": misses(target_for(self.task), found),
        }


def measure(tasks: list[Task], threads: int, settings: Settings) -> list[Row]:
    """All `tasks`, one after the other, by processes that live as long as that takes."""
    if not tasks:
        return []
    taking_part = [OURS, *peers(settings.modes, tasks[0].training)]
    rows = []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process(mode, threads))
            for mode in taking_part if not missing_packages(mode)
        ]  # fmt: skip
        for task in tasks:
            kind = "training" if task.training else "answers"
            print(f"{kind} {task.name}, threads {threads} …", file=sys.stderr, flush=True)
            found = take_turns(
                processes, task, settings.rounds, settings.seconds, settings.variants,
                settings.wait,
            )  # fmt: skip
            if OURS.name not in found.times:
                raise RuntimeError(f"minicnn did not finish {task.name}: {found.failures}")
            rows.append(Row(task, threads, *found))
    return rows


def columns(rows: list[Row]) -> list[str]:
    """The peers that have a time in any row, in their order."""
    return [
        name for name in MODES
        if name != OURS.name and any(name in row.times for row in rows)
    ]  # fmt: skip


def heads(names: list[str], training: bool) -> list[str]:
    compared = ["best fp32 torch", "best of all"] if training else ["best of all", "onnxruntime"]
    shown = [*names, *(f"/ {name}" for name in compared)]
    return ["row", "minicnn ms", *shown, "to reach", "", "fastest turns", "of peak", "others"]


def wanted(task: Task) -> str:
    """The targets in short: against torch's fp32 modes, then against everybody."""
    target = target_for(task)
    parts = [target.torch_fp32, target.everything, *target.exceptions.values()]
    if not task.training:
        return " ".join(f"{part:g}×" for part in parts if part is not None)
    names = ["", "", *(f"{name} " for name in target.exceptions)]
    pairs = zip(names, parts, strict=True)
    return ", ".join(f"{name}{part:g}×" for name, part in pairs if part is not None)


def mark(row: Row, found: dict[str, float]) -> str:
    """The verdict, or "?" where other programs were too busy for one."""
    decided = verdict(row.task, found, row.threads)
    return "?" if decided and row.disturbed else decided


def of_fastest_turns(row: Row) -> str:
    """The two ratios of `cells` from everybody's fastest turn."""
    found = fastest_ratios(row.times)
    if row.task.training:
        held = [best(found, torch_fp32=True), best(found)]
    else:
        held = [best(found), ("", found["onnxruntime"]) if "onnxruntime" in found else None]
    return ", ".join("–" if peer is None else ratio(peer[1]) for peer in held)


def cells(row: Row, names: list[str], probe: float) -> list[str]:
    """One line of the table."""
    found = ratios(row.times)

    def against(peer: tuple[str, float] | None, named: bool) -> str:
        if peer is None:
            return "–"
        return ratio(peer[1]) + (f" {peer[0]}" if named else "")

    onnx = found.get("onnxruntime")
    compared = (
        [against(best(found, torch_fp32=True), True), against(best(found), True)]
        if row.task.training
        else [against(best(found), True), "–" if onnx is None else ratio(onnx)]
    )
    times = [milliseconds(row.median(name)) if name in row.times else "–" for name in names]
    return [
        row.task.name, milliseconds(row.median(OURS.name)), *times, *compared,
        wanted(row.task), mark(row, found), of_fastest_turns(row),
        f"{row.peak_share(probe):.0%}", f"{row.others:.0%}",
    ]  # fmt: skip


def failure_lines(rows: list[Row]) -> list[str]:
    """Who could not do what, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row.failures.items():
            reasons.setdefault((name, reason), []).append(row.task.name)
    return [f"{name} on {', '.join(tasks)}: {why}" for (name, why), tasks in reasons.items()]
