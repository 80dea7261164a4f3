"""The ratios to reach, and whether they are.

A ratio is the peer's time divided by minicnn's: 3 means three times as fast.
"""

import statistics
from typing import NamedTuple

from .modes import MODES, OURS
from .tasks import Task

THREADS = 2  # the targets hold for this many
MEMORY_SHARE = 0.5  # of PyTorch's peak, at most
END_TO_END = 5.0
LINEAR = 1.15  # time over arithmetic may grow by this much and count as linear


class Target(NamedTuple):
    """What one row must reach against the best fp32 mode of PyTorch, and against everybody."""

    torch_fp32: float | None
    everything: float | None
    exceptions: dict[str, float] = {}  # modes with a target of their own

    def against(self, mode: str) -> float | None:
        return self.exceptions.get(mode, self.everything)


TRAINING = {
    "digits-32": Target(10, 10, {"jax": 6}),
    "lenet-1": Target(10, 10, {"jax": 6}),
    "lenet-8": Target(10, 10),
    "lenet-64": Target(5, 4.5),
    "mlp-64": Target(3, 3),
    "seed-4": Target(3.5, 3),
    "seed-32": Target(5, 2.3),
    "mnist-example-64": Target(2.5, 1.6),
    "cifar-64": Target(2.5, 1.1),
}


def target_for(task: Task) -> Target:
    """The row's target; answers are held against onnxruntime alone."""
    if task.training:
        return TRAINING.get(task.name, Target(None, None))
    if task.net == "digits" or task.name == "lenet-1":
        ratio = 2.0
    else:
        ratio = 1.3 if task.batch == 1 else 1.1
    return Target(None, None, {"onnxruntime": ratio})


def paired_ratio(theirs: list[float], ours: list[float]) -> float:
    """The median over the rounds of their time divided by ours."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Each peer's time divided by minicnn's."""
    ours = times[OURS.name]
    return {name: paired_ratio(theirs, ours) for name, theirs in times.items() if name != OURS.name}


def fastest_ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """The same of the fastest turn of each: what a machine gives that nobody else slows."""
    ours = min(times[OURS.name])
    return {name: min(theirs) / ours for name, theirs in times.items() if name != OURS.name}


def best(found: dict[str, float], torch_fp32: bool = False) -> tuple[str, float] | None:
    """The strongest peer, the one with the smallest ratio; None where there is none."""
    names = [
        name for name in found
        if not torch_fp32 or (MODES[name].package == "torch" and MODES[name].fp32)
    ]  # fmt: skip
    name = min(names, key=lambda name: found[name], default=None)
    return None if name is None else (name, found[name])


def misses(target: Target, found: dict[str, float]) -> list[str]:
    """What falls short of the target, one text for each peer's mode."""
    missed = []
    strongest = best(found, torch_fp32=True)
    if target.torch_fp32 is not None and strongest and strongest[1] < target.torch_fp32:
        missed.append(f"{strongest[1]:.2f} of {target.torch_fp32:g}× against {strongest[0]} (fp32)")
    for name, ratio in found.items():
        wanted = target.against(name)
        if wanted is not None and ratio < wanted:
            missed.append(f"{ratio:.2f} of {wanted:g}× against {name}")
    return missed


def verdict(task: Task, found: dict[str, float], threads: int) -> str:
    """ "ok", "short", or "" where there is nothing to hold the row against."""
    target = target_for(task)
    held = [name for name in found if target.against(name) is not None]
    if threads != THREADS or not (held or (target.torch_fp32 and best(found, True))):
        return ""
    return "short" if misses(target, found) else "ok"
