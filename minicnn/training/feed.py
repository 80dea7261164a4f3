"""The batches of an epoch, one after the other, and how long the training waits for them."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..data.batches import batches
from ..data.decoding import in_order
from ..layers.base import FloatArray
from ..threads import get_num_threads

if TYPE_CHECKING:
    from .plan import Plan

AHEAD = 3  # augmented batches that are ready before they are asked for

Batch = tuple[FloatArray, NDArray[Any] | None]


class Feed:
    """Iterates over one epoch's batches.

    With `plan.augment` they are made by threads beside the training, some batches ahead; what
    they are depends on (seed, epoch, sample) only, so not on those threads.

    Parameters
    ----------
    plan : Plan
    epoch : int
        From 0.
    classes : int
        Number of the model's outputs.

    Attributes
    ----------
    waited : float
        Seconds that `next` has taken so far.
    """

    def __init__(self, plan: "Plan", epoch: int, classes: int):
        self.plan, self.epoch, self.classes = plan, epoch, classes
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        asked = time.perf_counter()
        # Closed by all means: a thread must not go on after an error or Ctrl-C.
        with closing(self._batches()) as source:
            for batch in source:
                self.waited += time.perf_counter() - asked
                yield batch
                asked = time.perf_counter()

    def _batches(self) -> Any:
        plan = self.plan
        if plan.augment is None:
            return batches(
                plan.x, plan.y, plan.batch_size, shuffle=plan.shuffle, seed=plan.seed,
                epoch=self.epoch,
            )  # fmt: skip
        from ..augment.compose import Epoch

        epoch = Epoch(plan.augment, plan.x, plan.y, plan.seed, self.epoch, self.classes)
        order = np.arange(len(plan.x))
        if plan.shuffle:
            order = random.permutation(len(plan.x), plan.seed, random.SHUFFLE, self.epoch)
        starts = range(0, plan.batches * plan.batch_size, plan.batch_size)
        chosen = (order[start : start + plan.batch_size] for start in starts)
        # As many threads as the training has: they sleep while they are ahead of it, and where
        # making the batches is the larger part of the work, no processor is idle.
        return in_order(epoch.batch, chosen, min(get_num_threads(), AHEAD), ahead=AHEAD)
