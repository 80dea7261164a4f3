"""How much of the machine other programs use while something is measured (Linux).

A program beside the measurement slows some libraries far more than others: where each region of
work ends with threads that wait for each other, a single busy CPU can cost a factor of ten. So
rounds in which others were busy are repeated, and figures from a busy machine decide nothing.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple, Self

PROC = Path("/proc")
SAMPLE = 0.5  # seconds, to see whether anybody is busy
QUIET = 0.05  # of all CPU time; up to this share of others, a round counts
ASLEEP = 0.02  # of one CPU: what processes that sleep may use all the same
ASLEEP_PATIENCE = 2.0  # seconds for threads to fall asleep
CPU_CLOCK = 2  # Linux: the clock of another process's CPU time is (~pid << 3) | 2
IDLE_FIELDS = (3, 4)  # idle and waiting for a disk, in the first line of /proc/stat
ROUNDING = 2  # ticks by which the two kinds of books may differ
GUEST = 8  # from this field on, /proc/stat counts again what is in the fields before


class Clock(NamedTuple):
    """CPU ticks since the start: of the machine, of it busy, and of some processes."""

    total: int
    busy: int
    own: int

    @classmethod
    def now(cls, pids: list[int]) -> Self | None:
        """None where the system keeps no such books."""
        try:
            total, busy = machine_ticks((PROC / "stat").read_text())
            own = sum(process_ticks((PROC / str(pid) / "stat").read_text()) for pid in pids)
        except (OSError, ValueError, IndexError):
            return None
        return cls(total, busy, own)


def machine_ticks(stat: str) -> tuple[int, int]:
    """All ticks and busy ones, of all CPUs together, from /proc/stat."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:]][:GUEST]
    return sum(fields), sum(fields) - sum(fields[index] for index in IDLE_FIELDS)


def process_ticks(stat: str) -> int:
    """User and system ticks from /proc/PID/stat, whose second field may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def others(before: Clock | None, after: Clock | None) -> float:
    """The share of all CPU time that other programs took; 0 where nobody knows."""
    if before is None or after is None or after.total <= before.total:
        return 0.0
    theirs = (after.busy - before.busy) - (after.own - before.own) - ROUNDING
    return max(0.0, theirs / (after.total - before.total))


def clock(pids: list[int]) -> Clock | None:
    """For `others`: these processes and this one are not other programs."""
    return Clock.now([*pids, os.getpid()])


def processor_seconds(pids: list[int]) -> float:
    """What the processes have used so far, to the microsecond; those that have ended count 0."""
    used = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, AttributeError):
            used += time.clock_gettime((~pid << 3) | CPU_CLOCK)
    return used


def wait_until_asleep(pids: list[int], at_least: float, at_most: float = ASLEEP_PATIENCE) -> bool:
    """Sleep until the processes have used next to nothing for `at_least` seconds.

    Threads of a pool may wait for their next work by spinning, some for much longer than others
    and on some processors for much longer than on others; until they sleep they take the CPUs of
    whose turn it is. False: they were still busy after `at_most` seconds.
    """
    end = time.monotonic() + at_most
    while True:
        before = processor_seconds(pids)
        time.sleep(at_least)
        if processor_seconds(pids) - before <= ASLEEP * at_least:
            return True
        if time.monotonic() >= end:
            return False


def wait_until_quiet(pids: list[int], seconds: float) -> float:
    """Sleep until others are quiet for SAMPLE seconds, `seconds` at most; says how long it was."""
    start = time.monotonic()
    while (waited := time.monotonic() - start) < seconds:
        before = clock(pids)
        time.sleep(SAMPLE)
        if others(before, clock(pids)) <= QUIET:
            return time.monotonic() - start
    return waited
