"""The batches of an epoch, one after the other, and how long the training waits for them."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..data.decoding import in_order
from ..threads import get_num_threads

if TYPE_CHECKING:
    from .plan import Plan

AHEAD = 3  # augmented batches that are ready before they are asked for

Batch = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64] | None]


class Feed:
    """Iterates over one epoch's batches: (x, y, which samples of them, or None for all).

    Without `plan.augment` x and y are all the data: a step gathers its samples itself. With it
    batches are made by threads beside the training, some of them ahead; what they are depends on
    (seed, epoch, sample) only, so not on those threads.

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

    def _chosen(self) -> Iterator[NDArray[np.int64]]:
        """The samples of each batch."""
        plan = self.plan
        order = np.arange(len(plan.x))
        if plan.shuffle:
            order = random.permutation(len(plan.x), plan.seed, random.SHUFFLE, self.epoch)
        starts = range(0, plan.batches * plan.batch_size, plan.batch_size)
        return (order[start : start + plan.batch_size] for start in starts)

    def _batches(self) -> Generator[Batch, None, None]:
        plan = self.plan
        if plan.augment is None:
            for indices in self._chosen():
                yield plan.x, plan.y, indices
            return
        from ..augment.compose import Epoch

        epoch = Epoch(plan.augment, plan.x, plan.y, plan.seed, self.epoch, self.classes)
        # As many threads as the training has: they sleep while they are ahead of it, and where
        # making the batches is the larger part of the work, no processor is idle.
        threads = min(get_num_threads(), AHEAD)
        source: Any = in_order(epoch.batch, self._chosen(), threads, ahead=AHEAD)
        with closing(source) as made:
            for x, y in made:
                yield x, y, None
