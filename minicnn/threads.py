"""How many threads the kernels use.

The default is what this process may really use: its CPU affinity, capped by the cgroup's CPU
quota; `OMP_NUM_THREADS` replaces it. Results never depend on the number.
"""

import math
import os

from .arguments import whole_number

MAX_THREADS = 1024
CGROUPS = "/sys/fs/cgroup"  # where Linux keeps a container's limits

_num_threads: int | None = None  # None until first asked for
_forked = False


def get_num_threads() -> int:
    """The number of threads a kernel call uses, at least 1."""
    global _num_threads
    if _num_threads is None:
        _num_threads = default_num_threads()
    return _num_threads


def set_num_threads(n: int) -> None:
    """Use `n` threads (1 to 1024) from the next kernel call on.

    Raises
    ------
    TypeError, ValueError
        When `n` is no whole number, or out of range.
    RuntimeError
        For n > 1 in a forked child: the OpenMP runtime's threads do not survive a fork. Start
        the child with the 'spawn' or 'forkserver' method to use several threads in it.
    """
    global _num_threads
    n = whole_number(n, "num_threads", 1, MAX_THREADS)
    if _forked and n > 1:
        raise RuntimeError(
            f"num_threads is {n} in a forked process, where only 1 works; start the process "
            "with multiprocessing's 'spawn' or 'forkserver' method to use more"
        )
    _num_threads = n


def default_num_threads() -> int:
    """`OMP_NUM_THREADS` if it is set to a number, else the CPUs this process may use."""
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    digits = wish.lstrip("0")
    if digits.isascii() and digits.isdigit():
        return min(int(digits[:9]), MAX_THREADS)  # nine say enough, and int() refuses thousands
    return min(available_cpus(), MAX_THREADS)


def available_cpus() -> int:
    """CPUs in the affinity mask, capped by the cgroup quota (rounded up)."""
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quota = cgroup_quota(CGROUPS)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cgroup_quota(root: str | os.PathLike[str]) -> float | None:
    """CPUs' worth of time the cgroup below `root` allows (versions 2 and 1), None if unlimited."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join(first_line(os.path.join(root, f)) for f in files).split()[:2]
            if quota != "max" and int(quota) > 0 and int(period) > 0:
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return None


def first_line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.readline()


def _after_fork_in_child() -> None:
    global _num_threads, _forked
    _num_threads, _forked = 1, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
