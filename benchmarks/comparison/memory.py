"""Peak memory of a training step, by the system's own books (Linux).

Each library has a fresh process. It builds model, optimizer and batch, and makes a step on two
samples, so that its code is loaded; from there on, the growth of the largest resident size over
three steps is what a step needs.
"""

import re
import sys
import time
from pathlib import Path
from types import ModuleType

from .modes import MODES, OURS, missing_packages, peers
from .targets import MEMORY_SHARE
from .tasks import Task
from .turns import Process
from .worker import run

TASK = Task("cifar", 64)
HEADS = ["mode", "MiB", "minicnn / mode", f"to reach: {MEMORY_SHARE:g} of fp32"]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def kibibytes(status: str, field: str) -> int:
    """A field of /proc/self/status; ValueError where it is missing."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"{STATUS} has no line {field}; the memory table needs Linux")
    return int(found[1])


def measure(side: ModuleType, task: Task, variant: str) -> float:
    """Mebibytes that a step of `task` adds to the process."""
    run(side.work(task._replace(batch=2), variant), 1)
    work = side.work(task, variant)
    time.sleep(0.1)
    CLEAR.write_text("5")  # the largest size so far becomes the size now
    before = kibibytes(STATUS.read_text(), "VmRSS")
    run(work, 3)
    return (kibibytes(STATUS.read_text(), "VmHWM") - before) / 1024


def compare(threads: int, names: list[str]) -> dict[str, float]:
    """Mebibytes for minicnn and each eager fp32 mode of PyTorch, each in a fresh process."""
    found = {}
    for mode in [OURS, *peers(names, training=True)]:
        if mode is not OURS and (mode.package != "torch" or mode.name == "torch-compile"):
            continue
        if missing_packages(mode):
            continue
        print(f"memory {mode.name} …", file=sys.stderr, flush=True)
        with Process(mode, threads) as process:
            found[mode.name] = process.ask("memory", task=list(TASK), variant=mode.variants[0])
    return found


def rows(found: dict[str, float]) -> list[list[str]]:
    """Lines of the table; minicnn is held against the thriftiest fp32 mode of PyTorch."""
    ours = found[OURS.name]
    rivals = [size for name, size in found.items() if name != OURS.name and MODES[name].fp32]
    mark = ""
    if rivals:
        mark = "ok" if ours <= MEMORY_SHARE * min(rivals) else "short"
    return [
        [name, f"{size:.1f}", f"{ours / size:.2f}" if name != OURS.name else "",
         mark if name == OURS.name else ""]
        for name, size in found.items()
    ]  # fmt: skip
