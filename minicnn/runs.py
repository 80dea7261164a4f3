"""Run folders: what one training leaves behind, under names that do not change.

model.safetensors     the best weights, with architecture, class names and preprocessing
last.safetensors      everything needed to continue
args.json             every setting, also those that were chosen automatically
env.json              versions, machine and number of threads
classes.json          class names, in the order of the model's outputs
data.json             how many images there are, and what is wrong with them
results.csv           one line an epoch
summary.json          the figures at the end; its presence says that the run is complete
report.html           all of it to look at, in one file
curves.png, confusion_matrix.png
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from .checkpoint import durable

PARENT = "runs"
NUMBERED = re.compile(r"train-(\d{3,9})")
LARGEST_JSON = 1 << 24  # bytes


class RunError(ValueError):
    """A run folder that is missing, incomplete or damaged; the message names it and the way out."""


class RunFolder:
    """The files of one run folder; making the object touches nothing.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.model = self.folder / "model.safetensors"
        self.last = self.folder / "last.safetensors"
        self.arguments = self.folder / "args.json"
        self.environment = self.folder / "env.json"
        self.classes = self.folder / "classes.json"
        self.data = self.folder / "data.json"
        self.results = self.folder / "results.csv"
        self.summary = self.folder / "summary.json"
        self.report = self.folder / "report.html"
        self.curves = self.folder / "curves.png"
        self.confusion_matrix = self.folder / "confusion_matrix.png"

    def __str__(self) -> str:
        return f"{self.folder}{os.sep}"

    @property
    def complete(self) -> bool:
        """Whether the training came to its end."""
        return self.summary.exists()

    def read(self, file: Path) -> dict[str, Any]:
        """The object in one of the run's JSON files; RunError when it is missing or damaged."""
        try:
            with open(file, "rb") as stream:
                value = json.loads(stream.read(LARGEST_JSON))
        except FileNotFoundError:
            raise RunError(f"{self}: holds no {file.name}, so it is not a run folder") from None
        except (ValueError, RecursionError) as error:
            raise RunError(f"{file}: damaged: {error}; restore it from a copy") from None
        if not isinstance(value, dict):
            raise RunError(f"{file}: holds a {type(value).__name__}, expected an object")
        return value


def create(out: str | os.PathLike[str] | None = None) -> RunFolder:
    """A new, empty run folder: `out`, or the next free runs/train-001.

    Raises
    ------
    RunError
        `out` exists and is not an empty folder: a run is never overwritten.
    OSError
        The folder cannot be made.
    """
    if out is None:
        return _create_next(Path(PARENT))
    folder = Path(out)
    with contextlib.suppress(FileExistsError, NotADirectoryError):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_occupied(folder)
    return RunFolder(folder)


def check_free(out: str | os.PathLike[str] | None) -> None:
    """Refuse at once what `create` would refuse; nothing is made."""
    if out is not None and os.path.lexists(out):
        _refuse_occupied(Path(out))


def _refuse_occupied(folder: Path) -> None:
    if not folder.is_dir() or any(folder.iterdir()):
        raise RunError(f"{folder}: exists and is not an empty folder; give a new name with --out")


def _create_next(parent: Path) -> RunFolder:
    parent.mkdir(parents=True, exist_ok=True)
    number = max(_numbers(parent), default=0)
    while True:  # another process may take the same number at the same time
        number += 1
        folder = parent / f"train-{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return RunFolder(folder)


def newest(parent: str | os.PathLike[str] = PARENT) -> RunFolder:
    """The run with the highest number below `parent`; RunError when there is none."""
    folder = Path(parent)
    number = max(_numbers(folder), default=None) if folder.is_dir() else None
    if number is None:
        raise RunError(f"{folder}{os.sep}: holds no runs; name the run folder")
    return RunFolder(folder / f"train-{number:03d}")


def _numbers(parent: Path) -> list[int]:
    matches = (NUMBERED.fullmatch(entry.name) for entry in parent.iterdir())
    return [int(match[1]) for match in matches if match]


def find_model(where: str | os.PathLike[str]) -> Path:
    """The model file that `where` means: a run folder's best weights, or the file itself.

    Raises
    ------
    RunError
        There is no such file or folder, or the run has no model yet.
    """
    path = Path(where)
    if not path.is_dir():
        if not path.exists():
            raise RunError(f"{path}: no such run folder or model file")
        return path
    run = RunFolder(path)
    if run.model.exists():
        return run.model
    if run.last.exists():
        raise RunError(
            f"{run}: was stopped before its first epoch ended, so it has no model yet; "
            f"continue it with: minicnn train --resume {path}"
        )
    raise RunError(f"{run}: holds no model.safetensors, so it is not a run folder")


def write_bytes(path: Path, data: bytes) -> None:
    """Write one of a run's files whole or not at all."""
    durable.write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write one of a run's JSON files whole or not at all."""
    durable.write_json(path, value)
