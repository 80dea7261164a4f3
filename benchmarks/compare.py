"""minicnn beside every other library, paired in one run, with the ratios to reach.

    pip install ".[bench]"
    python benchmarks/compare.py                      # all tables: about an hour
    python benchmarks/compare.py --parts training --rows lenet mlp-64 --threads 2
    python benchmarks/compare.py --quick              # a minute, for a first look and for CI

A training step is forward, loss, backward and SGD with momentum. Each library runs in a process
of its own, with its best settings, on arrays made beforehand from random data; they take turns.
Figures are medians over the rounds, ratios medians of the rounds' ratios. docs/benchmarks.md
tells how to read the tables.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import end_to_end, machine, memory, scaling, steps, tables
from comparison.modes import LEGEND, MODES, OURS
from comparison.steps import Settings
from comparison.tasks import INFERENCE, TRAINING, named

PARTS = ["training", "inference", "scaling", "memory", "end-to-end"]
QUICK_ROWS = ["digits", "lenet"]
QUICK_VARIANTS = {"torch-bf16": ["NHWC bf16"], "jax": ["NCHW"]}  # nothing that takes minutes


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    nets = {task.net for task in TRAINING}
    rows = sorted(nets | {task.name for task in [*TRAINING, *INFERENCE]})
    modes = [name for name in MODES if name != OURS.name]
    add("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--rows", nargs="+", choices=rows, default=[], metavar="ROW", help=", ".join(rows))
    add("--modes", nargs="+", choices=modes, default=[], metavar="MODE", help=", ".join(modes))
    add("--threads", nargs="+", type=positive, default=[1, 2], metavar="N")
    add("--rounds", type=positive, default=9)
    add("--turn", type=float, default=0.05, metavar="SECONDS", help="length of a turn")
    add("--wait", type=float, default=0, metavar="SECONDS", help="a row waits for a quiet machine")
    add("--mnist", type=Path, default=default_mnist(), metavar="FOLDER", help="four IDX files")
    add("--seeds", type=positive, default=3, help="runs of each library on MNIST")
    add("--quick", action="store_true", help="few rows, one thread count, two short rounds")
    add("--markdown", action="store_true", help="tables as Markdown")
    add("--json", type=Path, metavar="FILE", help="write every figure")
    args = parser.parse_args(arguments)
    if args.quick:
        args.rows = args.rows or QUICK_ROWS
        args.modes = args.modes or [name for name in modes if name != "torch-compile"]
        args.threads, args.rounds, args.turn, args.seeds = args.threads[-1:], 2, 0.005, 1
    return args


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def default_mnist() -> Path:
    data = os.environ.get("MINICNN_DATA", Path(__file__).parent / "../../shared/data")
    return Path(data) / "mnist"


class Report:
    """Prints each part as it is finished, and keeps the data of all."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.settings = Settings(
            args.modes, args.rounds, args.turn, QUICK_VARIANTS if args.quick else {}, args.wait
        )
        self.data: dict[str, Any] = {"machine": machine.facts()}
        self.probe = self.data["machine"]["probe_before"]

    def table(self, title: str, heads: list[str], rows: list[list[str]]) -> None:
        render = tables.markdown_table if self.args.markdown else tables.text_table
        print(
            f"\n{'### ' if self.args.markdown else ''}{title}\n\n{render(heads, rows)}", flush=True
        )

    def keep(self, part: str, found: list[Any]) -> None:
        self.data.setdefault(part, []).extend(found)

    def steps(self, part: str, threads: int) -> None:
        training = part == "training"
        tasks = named(self.args.rows, TRAINING if training else INFERENCE)
        rows = steps.measure(tasks, threads, self.settings)
        if not rows:
            return
        names = steps.columns(rows)
        title = "Training step" if training else "Answers for a batch"
        self.table(
            f"{title}, milliseconds, threads {threads}",
            steps.heads(names, training),
            [steps.cells(row, names, self.probe) for row in rows],
        )
        for line in steps.failure_lines(rows):
            print(f"  {line}")
        self.keep(part, [row.as_data() for row in rows])

    def scaling(self, threads: int) -> None:
        series = scaling.QUICK if self.args.quick else [*scaling.BATCHES, *scaling.DEPTHS]
        found = scaling.scaling(series, threads, self.settings)
        self.table(
            f"Growth with batch and depth, threads {threads}",
            scaling.HEADS,
            [entry.cells() for entry in found],
        )
        self.keep("scaling", [entry.row.as_data() for entry in found])

    def memory(self, threads: int) -> None:
        found = memory.compare(threads, self.args.modes)
        title = f"Peak memory that a training step adds, {memory.TASK.name}, threads {threads}"
        self.table(title, memory.HEADS, memory.rows(found))
        self.keep("memory", [{"threads": threads, "mebibytes": found}])

    def end_to_end(self, threads: int) -> None:
        if not self.args.mnist.is_dir():
            print(f"\nMNIST is left out: there is no folder {self.args.mnist} (--mnist FOLDER)")
            return
        size = (1, 3000) if self.args.quick else (5, 60000)
        found = end_to_end.race(self.args.mnist, threads, self.settings, self.args.seeds, *size)
        self.table(
            f"LeNet on MNIST, threads {threads}", end_to_end.HEADS, [run.cells() for run in found]
        )
        print(f"  {end_to_end.summary(found)}")
        self.keep("end-to-end", [run._asdict() | {"threads": threads} for run in found])

    def run(self) -> None:
        print(machine.machine_line(self.data["machine"]))
        for line in machine.missing_lines(self.args.modes):
            print(line)
        most = max(self.args.threads)
        for part in self.args.parts:
            if part in ("training", "inference"):
                for threads in self.args.threads:
                    self.steps(part, threads)
            else:
                {"scaling": self.scaling, "memory": self.memory, "end-to-end": self.end_to_end}[
                    part
                ](most)
        after = self.data["machine"]["probe_after"] = machine.probe()
        print(f"\nmultiply-add probe: {self.probe:.0f} GFLOP/s a core before, {after:.0f} after")
        print(f"\n{LEGEND}\nothers         {steps.OTHERS}")
        if self.args.json:
            self.args.json.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    Report(parse()).run()
