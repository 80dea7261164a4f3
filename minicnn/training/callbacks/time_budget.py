"""The end of a training before its time is up."""

import time

from ...arguments import real_number
from ..plan import Run
from .base import Callback

RECENT = 3  # epochs whose length tells that of the next one


class TimeBudget(Callback):
    """Ends the training in time: an epoch that would not fit any more is not begun.

    The next epoch is expected to take as long as the longest of the last three, with all that
    belongs to it: validation, callbacks, files. A schedule goes on as planned for all epochs
    and is cut off. The first epoch of a training is always made, so that there is something
    to keep.

    Parameters
    ----------
    minutes : float
        For the call of `fit`.
    spent : float
        Seconds of them that are gone before the training begins: for reading data, or by an
        earlier part of a run that is resumed. No clock is in the state file, since equal runs
        give equal files.
    expected : float
        Seconds that an epoch is expected to take, until one was measured.
    """

    def __init__(self, minutes: float, spent: float = 0.0, expected: float = 0.0):
        self.minutes = real_number(minutes, "minutes")
        self.spent = real_number(spent, "spent")
        self.expected = real_number(expected, "expected")
        self._begin = self._last = 0.0
        self._lengths: list[float] = []  # of the last epochs, in seconds

    def on_train_begin(self, run: Run) -> None:
        self._begin = self._last = time.perf_counter()
        self._lengths = []
        if run.epoch > 0:
            self._stop_if_it_is_time(run, self.expected)

    def on_epoch_end(self, run: Run) -> None:
        now = time.perf_counter()
        # Since the end of the epoch before, so that writing the state counts as well.
        self._lengths = [*self._lengths, now - self._last][-RECENT:]
        self._last = now
        self._stop_if_it_is_time(run, max(self._lengths))

    def _stop_if_it_is_time(self, run: Run, epoch_seconds: float) -> None:
        end = self.spent + self._last - self._begin + epoch_seconds
        if run.epoch < run.plan.epochs and end > 60 * self.minutes:
            run.request_stop(
                f"the time budget of {self.minutes:g} min leaves no room for another epoch"
            )
