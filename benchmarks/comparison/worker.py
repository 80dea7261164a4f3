"""A contender's process: builds what it is told to, runs it, reports seconds.

Requests and answers are lines of JSON on standard input and output. Between them the process
sleeps, blocked on the pipe.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .modes import MODES, Mode
from .tasks import Task

WARM_SECONDS = 0.01  # before the clock starts: sleeping threads take 7 ms to come back


class Work(NamedTuple):
    """What a library's side hands out."""

    step: Callable[[], Any]
    finish: Callable[[], Any] = lambda: None  # waits for steps that are still under way


def run(work: Work, calls: int) -> float:
    """Seconds for each of `calls` steps."""
    start = time.perf_counter()
    for _ in range(calls):
        work.step()
    work.finish()
    return (time.perf_counter() - start) / calls


def turn(work: Work, seconds: float) -> float:
    """Warm up, then take the time of as many steps as fill `seconds`: seconds for each."""
    end = time.perf_counter() + WARM_SECONDS
    run(work, 2)
    estimate = run(work, 1)
    while time.perf_counter() < end:
        estimate = min(estimate, run(work, 1))
    return run(work, max(1, round(seconds / max(estimate, 1e-6))))


class CannotRun(Exception):
    """No variant of the mode can do the task; the message says why."""


class Contender:
    """The one mode that this process runs."""

    def __init__(self, mode: Mode, threads: int):
        self.mode = mode
        self.threads = threads
        self.side = importlib.import_module(f"comparison.{mode.module}")
        self.side.start(threads)
        self.work: Work | None = None

    def prepare(self, task: list[Any], seconds: float, variants: list[str] | None) -> Any:
        """Build every variant, and keep the one that is fastest in turns of `seconds`."""
        self.work = None  # frees the last one's memory
        self.side.forget()
        found: list[tuple[float, str, Work]] = []
        failed: dict[str, str] = {}
        for variant in variants or self.mode.variants:
            try:
                work = self.side.work(Task(*task), variant)
                found.append((min(turn(work, seconds) for _ in range(3)), variant, work))
            except Exception as error:
                failed[variant] = reason(error)
        if not found:
            raise CannotRun("; ".join(dict.fromkeys(failed.values())))
        _, variant, self.work = min(found, key=lambda entry: entry[0])
        return {"variant": variant, "failed": list(failed.items())}

    def run(self, seconds: float) -> float:
        """One turn of the work that was prepared."""
        assert self.work is not None
        return turn(self.work, seconds)

    def memory(self, task: list[Any], variant: str) -> Any:
        from .memory import measure

        return measure(self.side, Task(*task), variant)

    def learn(self, **request: Any) -> Any:
        from .end_to_end import learn

        return learn(self.side, **request)


def reason(error: BaseException) -> str:
    """The error as one short line."""
    if isinstance(error, CannotRun):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:200]


def take_cpus(threads: int) -> None:
    """Keep to the last `threads` CPUs, for libraries whose pool has the size of the machine."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[-threads:])


def main() -> None:
    """Serve until the pipe is closed: `worker MODE THREADS`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints goes to the error stream, not among the answers
    mode, threads = MODES[sys.argv[1]], int(sys.argv[2])
    take_cpus(threads)
    contender: Contender | None = None
    for line in sys.stdin:
        try:
            contender = contender or Contender(mode, threads)
            request = json.loads(line)
            answer = {"value": getattr(contender, request.pop("do"))(**request)}
        except Exception as error:
            answer = {"error": reason(error)}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
