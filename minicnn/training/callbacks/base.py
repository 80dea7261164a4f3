"""What every callback is: something that is told how a training goes."""

from collections.abc import Mapping
from typing import Any

from ..plan import Run


class Callback:
    """Something that is told how a training goes. Override what you need.

    Every method gets the `Run`: `run.model`, `run.plan`, `run.history`, `run.epoch` and
    `run.batch` (from 1), `run.logs`; and `run.request_stop(reason)`, after which the training
    ends with the present epoch. An exception in a callback ends it at once.
    """

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch. In a resumed run `run.epoch` epochs are done by now and
        `load_state` has been called; otherwise `run.epoch` is 0: forget earlier trainings."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before the first step of epoch `run.epoch`."""

    def on_batch_end(self, run: Run) -> None:
        """After every step. Not the place to read a batch's samples; they are gone."""

    def on_validation_begin(self, run: Run) -> None:
        """After an epoch's last step, before the validation; also when there is none."""

    def on_epoch_end(self, run: Run) -> None:
        """After the validation, when the epoch's row is the last one of `run.history`."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, when all went well; the model may still be changed."""

    def close(self, run: Run) -> None:
        """At the very end, also after an error or Ctrl-C: let go of files and progress bars."""

    def arguments(self) -> dict[str, Any]:
        """What must be the same in a resumed run, as plain data."""
        return {}

    def state(self) -> dict[str, Any] | None:
        """What a resumed run needs: plain data, and under any key a mapping of names to arrays.

        None, as here, when the callback keeps nothing from epoch to epoch.
        """
        return None

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` gave."""
