"""The line about the machine, and its multiply-add peak."""

import statistics
import time
from typing import Any

from .modes import MODES, missing_packages

PACKAGES = ("torch", "jax", "onnxruntime")
PROBE_STEPS = 1_000_000


def probe(times: int = 9) -> float:
    """GFLOP/s of one core's fp32 multiply-adds; the process's own CPU time counts."""
    from minicnn.engine import fma_probe

    def once() -> float:
        start = time.process_time()
        operations: float = fma_probe(PROBE_STEPS)
        return operations / (time.process_time() - start)

    return statistics.median(once() for _ in range(times)) / 1e9


def facts() -> dict[str, Any]:
    """Processor, instruction set, versions, date, and the probe at the start."""
    from minicnn.config import environment, package_version

    known = environment()
    return {
        "cpu": known["cpu"],
        "cpus": known["cpus"],
        "engine": known["engine"],
        "platform": known["platform"],
        "python": known["python"],
        "versions": {name: package_version(name) for name in ("minicnn", *PACKAGES)}
        | {"minicnn": known["minicnn"]},
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "probe_before": probe(),
    }


def machine_line(found: dict[str, Any]) -> str:
    versions = ", ".join(
        f"{name} {version}" for name, version in found["versions"].items() if version
    )
    return (
        f"{found['cpu']}, {found['cpus']} CPUs, engine {found['engine']}, "
        f"{found['probe_before']:.0f} GFLOP/s a core (multiply-add probe)\n"
        f"{found['platform']}, Python {found['python']}, {versions}, {found['date']}"
    )


def missing_lines(names: list[str]) -> list[str]:
    """Which of the wanted modes cannot take part, and how to let them."""
    lines = []
    for mode in MODES.values():
        lacking = missing_packages(mode)
        if lacking and (not names or mode.name in names):
            lines.append(
                f"{mode.name} is left out: {', '.join(lacking)} not installed "
                '(pip install ".[bench]")'
            )
    return lines
