"""What this installation is and where it runs: for bug reports, run folders and benchmarks."""

import os
import platform
from typing import Any

from .threads import available_cpus, get_num_threads

PACKAGES = ("numpy", "pillow", "safetensors", "tqdm", "matplotlib")


def environment() -> dict[str, Any]:
    """Versions, machine and threads, as JSON-able data."""
    from . import __version__
    from .kernels.build import has_openmp

    return {
        "minicnn": __version__,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpus": available_cpus(),
        "openmp": has_openmp(),
        "threads": get_num_threads(),
    }


def show_config() -> str:
    """The same as lines of text; print it."""
    facts = environment()
    packages = facts.pop("packages")
    facts["packages"] = ", ".join(f"{k} {v}" for k, v in packages.items() if v) or "none"
    return "\n".join(f"{name:9} {value}" for name, value in facts.items())


def package_version(name: str) -> str | None:
    """The installed version of a package, None where there is none."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's name as its maker spells it, where the system tells."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
