"""The house rules of docs/architecture.md, held against the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minicnn"

# Imports go to the same floor or down, never up. A folder stands for all its files.
FLOORS = {
    "cli": 6, "__main__": 6,
    "explain": 5, "gradient_check": 5, "interop": 5, "models": 5, "report": 5, "runs": 5,
    "chain": 4, "model_file": 4, "planned": 4, "sequential": 4, "trace": 4,
    "architecture": 3, "augment": 3, "checkpoint": 3, "data": 3, "datasets": 3, "inspection": 3,
    "lowering": 3, "steps": 3, "summary": 3, "training": 3,
    "calibration": 2, "initializers": 2, "layers": 2, "losses": 2, "metrics": 2, "optim": 2,
    "schedulers": 2,
    "arguments": 1, "arrays": 1, "config": 1, "engine": 1, "interrupts": 1, "kernels": 1,
    "random": 1, "threads": 1,
}  # fmt: skip
# Of a model: they do not know each other.
CLIENTS = {"explain", "gradient_check", "interop", "report"}
LONGEST = {".py": 300, ".pyx": 350}  # lines; beyond, a file says why here
LONGER_FOR_A_REASON: dict[str, str] = {}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The module or folder right below the package that `path` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str, path: Path) -> set[str]:
    """The rooms that `source`, standing at `path`, imports, wherever in the file it does so."""
    package = ["minicnn", *path.relative_to(PACKAGE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("minicnn.")}
    return found & FLOORS.keys()


def violations(source: str, path: Path) -> list[str]:
    here = room(path)
    return [
        f"{here} (floor {FLOORS[here]}) imports {other} (floor {FLOORS[other]})"
        for other in sorted(imported_rooms(source, path) - {here})
        if FLOORS[other] > FLOORS[here] or {here, other} <= CLIENTS
    ]


def test_every_module_has_a_floor():
    assert {room(path) for path in modules()} - {"__init__"} == FLOORS.keys()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_the_floors_only(path):
    if room(path) != "__init__":
        assert violations(path.read_text(), path) == []


@pytest.mark.parametrize(
    "line",
    ["from ..sequential import load", "import minicnn.cli.train", "from .. import training",
     "def f():\n    from minicnn import checkpoint"],
)  # fmt: skip
def test_an_import_upwards_is_noticed(line):
    assert violations(line, PACKAGE / "layers" / "linear.py")


def test_no_file_outgrows_its_reader():
    files = [*modules(), *PACKAGE.rglob("*.pyx")]
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in files
        if (lines := len(path.read_text().splitlines())) > LONGEST[path.suffix]
    }
    assert long.keys() == LONGER_FOR_A_REASON.keys(), long
