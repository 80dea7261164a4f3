"""The history as a CSV file that grows with the training."""

import csv
import io
import os
from typing import Any

from ...checkpoint import durable
from ..plan import Run
from .base import Callback


class CSVLog(Callback):
    """Writes the history to a CSV file, each row as soon as its epoch is over.

    A new training replaces the file. A resumed one keeps the rows of the epochs it builds on
    as they are, with their timings, and drops later and broken ones.

    Parameters
    ----------
    path : path
        Its folder must exist.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        self._columns: list[str] = []
        self._file: io.FileIO | None = None

    def on_train_begin(self, run: Run) -> None:
        self._columns = run.columns()
        earlier = self._earlier_lines() if run.epoch else {}
        lines = [earlier.get(row["epoch"]) or self._line(row) for row in run.history]
        durable.write_bytes(self.path, (_csv(self._columns) + "".join(lines)).encode())
        self._file = io.FileIO(self.path, "a")

    def on_epoch_end(self, run: Run) -> None:
        assert self._file is not None
        # Usually one call, so that a kill leaves no half line; and forced to the disk, because
        # the training state, which is written next, must not be ahead of the log.
        rest = memoryview(self._line(run.history[-1]).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            error.filename = self.path  # calls on descriptors know no name
            raise

    def close(self, run: Run) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, row: dict[str, Any]) -> str:
        return _csv([row.get(name) for name in self._columns])

    def _earlier_lines(self) -> dict[int, str]:
        """The whole lines of the file by epoch; of an epoch that is there twice, the last."""
        try:
            with open(self.path, encoding="utf-8", errors="replace", newline="") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return {}
        if not lines or lines[0] != _csv(self._columns):
            return {}
        whole = [line for line in lines[1:] if line.endswith("\n")]
        rows = {line: next(csv.reader([line])) for line in whole}
        return {
            int(cells[0]): line
            for line, cells in rows.items()
            if len(cells) == len(self._columns) and cells[0].isascii() and cells[0].isdigit()
        }


def _csv(cells: list[Any]) -> str:
    """One line; numbers as Python writes them, so that they read back as the same floats."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
