"""What one run is and what came out of it, read from its folder."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model_file import load
from ..runs import NUMBERED, RunError, RunFolder
from .settings import FORMAT

LARGEST_LOG = 1 << 24  # bytes of results.csv
# Of summary.json: what not every run has.
MAY_LACK = ("test_accuracy", "temperature", "calibration_error", "calibration_error_before")


@dataclass(frozen=True)
class RunFacts:
    """One run; what is not known is None.

    Attributes
    ----------
    run : str
        Its folder.
    complete : bool
    settings : dict
        As in args.json.
    parameters : int or None
        None when there is no model yet.
    epochs, best_epoch, val_accuracy, val_loss, test_accuracy
        The best epoch's; of an unfinished run those so far.
    temperature, calibration_error, calibration_error_before
        What the probabilities are divided by, and how far they are off (ECE) with it and without,
        on the test part or else the validation part; None for an unfinished run.
    stopped : str or None
        Why the training ended before its last epoch.
    seconds : float
        Of all epochs.
    started : str or None
        Time in UTC, as in env.json.
    """

    run: str
    complete: bool
    settings: dict[str, Any]
    parameters: int | None
    epochs: int
    best_epoch: int | None
    val_accuracy: float | None
    val_loss: float | None
    test_accuracy: float | None
    temperature: float | None
    calibration_error: float | None
    calibration_error_before: float | None
    stopped: str | None
    seconds: float
    started: str | None

    @property
    def data(self) -> str:
        """What it was trained on."""
        return str(self.settings.get("data") or "digits")

    def as_dict(self) -> dict[str, Any]:
        """As it is in the JSON object."""
        return {**vars(self), "data": self.data, "arch": self.settings.get("arch")}


def find_runs(parent: str) -> list[RunFolder]:
    """The run folders in `parent`, or `parent` itself when it is one.

    Raises
    ------
    RunError
        There is none.
    """
    folder = Path(parent)
    if _is_run(folder):
        return [RunFolder(folder)]
    try:
        found = [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_run(path)]
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror}; name a run folder") from None
    if not found:
        raise RunError(f"{folder}: holds no runs; name a folder with runs, or runs to compare")
    return [RunFolder(path) for path in found]


def _is_run(path: Path) -> bool:
    """Whether a folder is a run or the remains of one."""
    run = RunFolder(path)
    files = (run.arguments, run.model, run.last, run.summary)
    return path.is_dir() and (
        any(file.exists() for file in files) or NUMBERED.fullmatch(path.name) is not None
    )


def read_facts(run: RunFolder) -> RunFacts:
    """The facts of one run; every file that they are from is checked.

    Raises
    ------
    ValueError, OSError
        A file is missing, damaged or of another version; the message names it.
    """
    settings = _settings(run)
    rows = _rows(run)
    best = min(rows, key=lambda row: row["val_loss"], default=None)
    summary = run.read(run.summary) if run.complete else None
    figures: dict[str, Any] = {
        "epochs": len(rows),
        "best_epoch": None if best is None else int(best["epoch"]),
        "val_accuracy": None if best is None else best["val_accuracy"],
        "val_loss": None if best is None else best["val_loss"],
        **dict.fromkeys(MAY_LACK),
    }
    for name in figures:
        if summary is not None:
            figures[name] = _number(run.summary, summary, name, name in MAY_LACK)
    parameters = None
    if run.model.exists() or run.complete:
        parameters = sum(p.size for p in load(run.model).parameters())
    environment = run.read(run.environment) if run.environment.exists() else {}
    started, stopped = environment.get("started"), (summary or {}).get("stopped")
    return RunFacts(
        run=str(run.folder),
        complete=run.complete,
        settings={name: value for name, value in settings.items() if name != "format"},
        parameters=parameters,
        stopped=stopped if isinstance(stopped, str) else None,
        seconds=sum(row["seconds"] for row in rows),
        started=started if isinstance(started, str) else None,
        **figures,
    )


def _settings(run: RunFolder) -> dict[str, Any]:
    settings = run.read(run.arguments)
    version = settings.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise RunError(
            f"{run.arguments}: format {version!r:.80}; this version reads up to format {FORMAT}; "
            "use the version of minicnn that made the run"
        )
    return settings


def _rows(run: RunFolder) -> list[dict[str, float]]:
    """The lines of results.csv that matter here; none when it is not there yet."""
    if not run.results.exists():
        return []
    names = ("epoch", "val_accuracy", "val_loss", "seconds")
    try:
        with open(run.results, encoding="utf-8", newline="") as file:
            lines = file.read(LARGEST_LOG).splitlines()
        rows = [{name: float(row[name]) for name in names} for row in csv.DictReader(lines)]
        if not all(math.isfinite(value) for row in rows for value in row.values()):
            raise ValueError("a value that is not finite")
        return rows
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(
            f"{run.results}: damaged: expected numbers under {', '.join(names)}, got {error}; "
            "restore it from a copy"
        ) from None


def _number(file: Path, summary: dict[str, Any], name: str, may_lack: bool) -> Any:
    value = summary.get(name)
    if value is None and may_lack:
        return None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RunError(f"{file}: {name} is {value!r:.80}, expected a number; it is damaged")
    return value
