"""What a training shows while it runs: a bar on a terminal, one line an epoch everywhere."""

import sys
from typing import TYPE_CHECKING, Any

from ..training.callbacks import Callback
from ..training.history import is_lower_better
from .console import Console, bar_size
from .cost import SHORT
from .text import duration, percent

if TYPE_CHECKING:
    from ..training import Run

FAR = 1.5  # times what was forecast from which on that is corrected
BAR = "  {desc}  {rate_noinv_fmt}  ETA {remaining}  {bar}"  # the bar takes what is left


class Progress(Callback):
    """Shows a training on stderr, and remembers for messages how far it came.

    Parameters
    ----------
    console : Console
    monitor : str
        The column of the history whose best epoch is marked.
    """

    def __init__(self, console: Console, monitor: str):
        self.console = console
        self.monitor = monitor
        self.epoch = 0  # finished epochs
        self.best: float | None = None
        self.best_epoch = 0
        self.stop_reason: str | None = None  # when it ended before the last planned epoch
        self._bar: Any = None

    def on_train_begin(self, run: "Run") -> None:
        for row in run.history:
            self._note(row)
        self.epoch = run.epoch
        if self.console.shows_bars:
            from tqdm import tqdm  # type: ignore[import-untyped]

            left = (run.plan.epochs - run.epoch) * len(run.plan.x)
            self._bar = tqdm(
                total=left,
                unit=" images",
                bar_format=BAR,
                file=sys.stderr,
                leave=False,
                **bar_size(),
            )

    def on_batch_end(self, run: "Run") -> None:
        if self._bar is None:
            return
        logs = run.logs
        self._bar.set_description_str(
            f"epoch {run.epoch}/{run.plan.epochs}  loss {logs['loss']:.4f}  "
            f"acc {percent(logs['accuracy'])}",
            refresh=False,
        )
        done = run.samples + len(run.plan.x) * (run.epoch - self._first(run))
        self._bar.update(done - self._bar.n)

    def on_epoch_end(self, run: "Run") -> None:
        row = run.history[-1]
        self.epoch = run.epoch
        best = self._note(row)
        epochs = str(run.plan.epochs)
        line = (
            f"  epoch {run.epoch:>{len(epochs)}}/{epochs}  loss {row['loss']:.4f}  "
            f"acc {percent(row['accuracy']):>8}  val_loss {row['val_loss']:.4f}  "
            f"val_acc {percent(row['val_accuracy']):>8}  {row['seconds']:5.1f} s{_waited(run)}"
            f"{'  *best' if best else ''}"
        )
        self._say(line)

    def on_train_end(self, run: "Run") -> None:
        self.stop_reason = run.stop_reason
        if run.stop_reason is not None:
            self._say(f"  stopped {run.stop_reason}")

    def _say(self, line: str) -> None:
        if self._bar is None:
            self.console.say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self, run: "Run") -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _first(self, run: "Run") -> int:
        """The first epoch that the bar counts."""
        return int(run.plan.epochs - self._bar.total // len(run.plan.x) + 1)

    def _note(self, row: dict[str, Any]) -> bool:
        sign = 1 if is_lower_better(self.monitor) else -1
        if self.best is not None and sign * row[self.monitor] >= sign * self.best:
            return False
        self.best, self.best_epoch = row[self.monitor], row["epoch"]
        return True


class Correction(Callback):
    """After the first epoch, says so when it took far more or less time than was forecast.

    Parameters
    ----------
    console : Console
    low, high : float
        Seconds an epoch, as forecast.
    """

    def __init__(self, console: Console, low: float, high: float):
        self.console = console
        self.low, self.high = low, high
        self._said = False

    def on_epoch_begin(self, run: "Run") -> None:
        seconds = run.history[-1]["seconds"] if len(run.history) else None
        if self._said or seconds is None:  # none yet, or those of an earlier process
            return
        self._said = True
        rest = seconds * (run.plan.epochs - run.epoch + 1)
        off = seconds > FAR * self.high or seconds * FAR < self.low
        if off and max(rest, self.low * run.plan.epochs) > SHORT:
            self.console.say(
                f"  cost    the epoch took {duration(seconds)}, not as forecast: about "
                f"{duration(rest)} for the rest"
            )


def _waited(run: "Run") -> str:
    """How long the training waited for its data, where making them is work."""
    if run.plan.augment is None:
        return ""
    return f"  wait {run.history[-1]['wait_seconds']:.1f} s"
