"""What a training remembers of its epochs."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Row = dict[str, Any]

# The only columns that differ from run to run.
TIMINGS = ("seconds", "images_per_second", "wait_seconds")
COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", *TIMINGS)


def is_lower_better(metric: str, mode: str = "auto") -> bool:
    """Whether small values of `metric` are the good ones.

    `mode` is "min", "max" or "auto"; "auto" goes by the name: a loss is better when low, an
    accuracy when high.

    Raises
    ------
    ValueError
        For another mode, or when the name does not tell.
    """
    if mode in ("min", "max"):
        return mode == "min"
    if mode != "auto":
        raise ValueError(f"mode is {mode!r}; expected 'min', 'max' or 'auto'")
    if metric.endswith("loss"):
        return True
    if metric.endswith("accuracy"):
        return False
    raise ValueError(f"whether {metric!r} should fall or rise is unknown; use mode='min' or 'max'")


class History:
    """One row for each epoch: a dictionary with

    - epoch: 1 for the first;
    - loss, accuracy: means over the samples as they were trained on, in training mode, so
      each batch was judged by the weights it met;
    - val_loss, val_accuracy: of the validation data after the epoch, if there is any;
    - lr: the learning rate of the epoch's last step;
    - seconds, images_per_second: of the epoch, and of its training part;
    - wait_seconds: how long of it the training waited for its data. These three are None for
      epochs from before a resume, because clocks have no place in files that must be
      reproducible.

    `history["val_loss"]` is a column as a list, `history[-1]` a row, `len(history)` the number
    of epochs.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()):
        self.rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of one more epoch."""
        self.rows.append(dict(row))

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, int):
            return self.rows[key]
        if self.rows and not any(key in row for row in self.rows):
            raise KeyError(f"there is no {key!r}; there are {', '.join(self.columns())}")
        return [row.get(key) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        return self.rows == other.rows if isinstance(other, History) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it grows

    def columns(self) -> list[str]:
        """The names of what the rows hold, in a fixed order."""
        names = {name for row in self.rows for name in row}
        return [n for n in COLUMNS if n in names] + sorted(names.difference(COLUMNS))

    def best(self, metric: str = "val_loss", mode: str = "auto") -> Row:
        """The row of the epoch with the best `metric`; of equals the first.

        Raises
        ------
        KeyError, ValueError
            When there is no such column, or no epoch yet.
        """
        lower = is_lower_better(metric, mode)
        values = [math.nan if v is None else v for v in self[metric]]
        candidates = [i for i, value in enumerate(values) if not math.isnan(value)]
        if not candidates:
            raise ValueError(f"there is no epoch with a number for {metric!r}; train first")
        sign = 1 if lower else -1
        return self.rows[min(candidates, key=lambda i: sign * values[i])]

    def to_json(self, timings: bool = True) -> list[Row]:
        """The rows as plain data; without `timings`, equal runs give equal data."""
        left_out = () if timings else TIMINGS
        return [{k: v for k, v in row.items() if k not in left_out} for row in self.rows]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> "History":
        """The history that `to_json` described; timings that were left out are None."""
        return cls({**row, **{name: row.get(name) for name in TIMINGS}} for row in rows)

    def __repr__(self) -> str:
        if not self.rows:
            return "History of 0 epochs"
        columns = self.columns()
        cells = [columns] + [[_text(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in cells)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
