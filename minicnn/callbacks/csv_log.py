"""The history as a CSV file that grows with the training."""

import csv
import io
import os
from typing import IO, Any

from .. import durable
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
        self._file: IO[bytes] | None = None

    def on_train_begin(self, run: Run) -> None:
        self._columns = run.columns()
        earlier = self._earlier_lines() if run.epoch else {}
        lines = [earlier.get(row["epoch"]) or self._line(row) for row in run.history]
        durable.write_bytes(self.path, (_csv(self._columns) + "".join(lines)).encode())
        self._file = open(self.path, "ab", buffering=0)

    def on_epoch_end(self, run: Run) -> None:
        assert self._file is not None
        # One call, so that only a loss of power can leave a part of the line, and then forced
        # to the disk: the training state, written next, must not be ahead of the log.
        self._file.write(self._line(run.history[-1]).encode())
        os.fsync(self._file.fileno())

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
