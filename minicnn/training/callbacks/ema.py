"""A moving average of the weights, which generalises better than the weights themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import flag, real_number
from ...checkpoint import check_entries
from ...interrupts import signals_deferred
from ...kernels import optim as kernel
from ...layers.base import FloatArray
from ...optim.segments import find_segments
from ...threads import get_num_threads
from ..plan import Run
from .base import Callback

Arrays = dict[str, NDArray[Any]]


class EMA(Callback):
    """Averages the weights over the steps of the training: the average is what is judged and kept.

    After every step, with the number of steps before it t and the weights w:

        decay_t = min(decay, (1 + t) / (10 + t)),   average ← decay_t average + (1 − decay_t) w

    The training goes on with w as if there were no average. For the validation, for all that
    happens between epochs and after the training, also after an error, the model holds the
    average: best checkpoints, early stopping and `model.predict` use it. BatchNorm's statistics
    are averaged with the weights that they belong to.

    Parameters
    ----------
    decay : float in [0, 1)
        The average reaches back about 1 / (1 − decay) steps.
    warmup : bool
        False: `decay` from the first step on, so that the starting weights count for long.

    Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging" (1992),
    who weigh all steps alike; here older ones fade away.
    """

    def __init__(self, decay: float = 0.999, warmup: bool = True):
        self.decay = real_number(decay, "decay", 0, 1, below=True)
        self.warmup = flag(warmup, "warmup")
        self.updates = 0
        self._live: Arrays = {}  # the model's own arrays, all parameters joined
        self._other: Arrays = {}  # of the same shapes: the average or, between epochs, w
        self._in_training = False  # whether the model holds w
        self._found: Arrays | None = None  # in a state file

    def on_train_begin(self, run: Run) -> None:
        segments = find_segments(run.model.parameters())
        self._live = {f"parameters.{i}": segment.data for i, segment in enumerate(segments)}
        # Integers count, such as the batches that BatchNorm has seen: these are not averaged.
        buffers = {k: a for k, a in run.model.buffers().items() if a.dtype == np.float32}
        self._live |= {f"buffers.{name}": array for name, array in buffers.items()}
        self._other = {name: array.copy() for name, array in self._live.items()}
        if run.epoch == 0:
            self.updates = 0
        elif self._found is not None:
            check_entries(self._found, self._live, "the weights of EMA")
            self._other = {name: self._found[name].copy() for name in self._live}
        self._found = None
        self._in_training = False

    def on_epoch_begin(self, run: Run) -> None:
        self._exchange()

    def on_batch_end(self, run: Run) -> None:
        t = self.updates
        decay = min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
        for name, average in self._other.items():
            _move(average, self._live[name], 1 - decay)
        self.updates += 1

    def on_validation_begin(self, run: Run) -> None:
        self._exchange()

    def close(self, run: Run) -> None:
        # After a divergence the model was put back to good weights, and the average is spoilt.
        if self._in_training and all(np.isfinite(a).all() for a in self._other.values()):
            self._exchange()
        self._in_training = False

    def _exchange(self) -> None:
        with signals_deferred():
            for name, array in self._live.items():
                array[...], self._other[name] = self._other[name], array.copy()
            self._in_training = not self._in_training

    def arguments(self) -> dict[str, Any]:
        return {"decay": self.decay, "warmup": self.warmup}

    def state(self) -> dict[str, Any]:
        """Between epochs the average is in the model, so what is left are the trained weights."""
        return {"updates": self.updates, "weights": self._other}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.updates, self._found = state["updates"], dict(state["weights"])


def _move(average: FloatArray, value: FloatArray, rate: float) -> None:
    """average += rate (value − average), in place."""
    if average.ndim == 1 and value.flags.c_contiguous:
        kernel.average_step(average, value, rate, get_num_threads())
    else:
        average += np.float32(rate) * (value - average)
