"""The parent's side: a process for each contender, and whose turn it is.

Every contender has a process of its own, since the thread pools of these libraries disturb one
another. They take turns (A B C A B C …), so that a machine whose speed drifts slows them all.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from .load import QUIET, clock, others, wait_until_asleep, wait_until_quiet
from .modes import NOT_INHERITED, Mode, environment
from .tasks import Task

PATIENCE = 900.0  # seconds for one answer; a compiler may need minutes
SETTLE = 0.02  # seconds that nobody's threads have slept, before the next turn begins
PERSISTENCE = 4  # rounds at most, for each that was asked for, while others are busy
PROGRAM = "from comparison.worker import main; main()"


class ContenderError(Exception):
    """A contender cannot do what was asked; says why."""

    def __init__(self, mode: str, why: str):
        super().__init__(why)
        self.mode = mode


class Process:
    """A contender's process, as seen from outside."""

    def __init__(self, mode: Mode, threads: int, patience: float = PATIENCE):
        self.mode = mode
        self.patience = patience
        folder = str(Path(__file__).parent.parent)
        inherited = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        paths = os.pathsep.join(filter(None, [folder, inherited.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, mode.name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=inherited | environment(threads) | {"PYTHONPATH": paths},
            text=True,
        )

    def ask(self, do: str, **request: Any) -> Any:
        """The answer to a request; ContenderError when there is none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        alarm = threading.Timer(self.patience, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            code = self.process.wait()
            raise ContenderError(
                self.mode.name, f"its process ended without an answer (exit code {code})"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderError(self.mode.name, answer["error"])
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pipe, upon which the process ends; end it if it does not."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Found(NamedTuple):
    """What the turns gave."""

    times: dict[str, list[float]]  # milliseconds of each mode, a figure a round
    variants: dict[str, str]  # that each mode went on with
    failures: dict[str, str]  # why a mode, or a variant of it, is missing
    others: float  # the largest share of CPU time that other programs took in a round


def take_turns(
    processes: list[Process],
    task: Task,
    rounds: int,
    seconds: float,
    variants: dict[str, list[str]],
    wait: float = 0.0,
) -> Found:
    """Let all contenders do `task`, `rounds` times, in turns of about `seconds` each.

    While other programs are busy there are more rounds, and the quietest ones count. For all of
    them together, up to `wait` seconds are spent on waiting for the others to stop.
    """
    found = Found({}, {}, {}, 0.0)
    wait -= wait_until_quiet([process.process.pid for process in processes], wait)
    ready = []
    for process in processes:
        settle(processes)
        if prepare(process, task, seconds, variants, found):
            ready.append(process)
    pids = [process.process.pid for process in ready]
    lines: list[tuple[float, dict[str, float]]] = []
    while len(lines) < PERSISTENCE * rounds and quiet(lines) < rounds and ready:
        wait -= wait_until_quiet(pids, wait)
        before = clock(pids)
        try:
            line = one_round(ready, seconds)
        except ContenderError as error:
            name = error.mode
            found.failures[name] = str(error)
            ready = [process for process in ready if process.mode.name != name]
            pids = [process.process.pid for process in ready]
            lines = [(share, line) for share, line in lines if line.pop(name, None) is not None]
            continue
        lines.append((others(before, clock(pids)), line))
    kept = sorted(lines, key=lambda entry: entry[0])[:rounds]
    for process in ready:
        found.times[process.mode.name] = [line[process.mode.name] for _, line in kept]
    return found._replace(others=max((share for share, _ in kept), default=0.0))


def quiet(lines: list[tuple[float, dict[str, float]]]) -> int:
    """How many rounds were not disturbed."""
    return sum(share <= QUIET for share, _ in lines)


def prepare(
    process: Process, task: Task, seconds: float, variants: dict[str, list[str]], found: Found
) -> bool:
    """Whether the contender can do the task; `found` gets its variant, and what failed."""
    name = process.mode.name
    try:
        ready = process.ask(
            "prepare", task=list(task), seconds=seconds, variants=variants.get(name)
        )
    except ContenderError as error:
        found.failures[name] = str(error)
        return False
    found.variants[name] = ready["variant"]
    for variant, why in ready["failed"]:
        found.failures[f"{name} ({variant})"] = why
    return True


def settle(processes: list[Process]) -> None:
    """Wait until nobody's threads spin any more."""
    wait_until_asleep([process.process.pid for process in processes], SETTLE)


def one_round(processes: list[Process], seconds: float) -> dict[str, float]:
    """Everybody's turn once: milliseconds by mode."""
    line = {}
    for process in processes:
        settle(processes)
        line[process.mode.name] = process.ask("run", seconds=seconds) * 1e3
    return line
