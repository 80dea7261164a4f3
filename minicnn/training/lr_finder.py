"""Finding a learning rate by trying them all, from far too small to far too large."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..arguments import real_number, whole_number
from ..data.batches import Batch, batches
from ..losses import CrossEntropyLoss, Loss
from ..optim import Optimizer, check_owner
from .plan import Model, Plan
from .rehearsal import rehearsal

SMOOTHING = 0.9  # weight of the past in the mean loss, which then spans about ten steps
DIVERGED = 4.0  # times the lowest mean loss, at which the search ends
FALLEN = 0.95  # share of the whole fall of the loss after which a higher rate gains nothing
FEW = 5  # steps in which a mean says nothing yet
SAFE = 5.0  # how far below that rate the suggestion lies


@dataclass(frozen=True)
class LRCurve:
    """What `lr_find` saw.

    Attributes
    ----------
    lrs, losses : list of float
        The learning rate of each step, and the loss of its batch before the step.
    means : list of float
        The losses averaged over about the last ten steps.
    suggestion : float
        A fifth of the rate at which the mean loss had fallen by 95 % of its whole fall.
    """

    lrs: list[float]
    losses: list[float]
    means: list[float]
    suggestion: float


def lr_find(
    model: Model,
    x: Any,
    y: Any,
    *,
    optimizer: Optimizer,
    loss: Loss | None = None,
    batch_size: int = 32,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 100,
    clip_norm: float | None = None,
    seed: int = 0,
) -> LRCurve:
    """A learning rate, from a short training whose rate grows exponentially at every step.

    While the rate is too small the loss stays, then it falls, and where the rate is too large it
    rises again, which ends the search. Model and optimizer are left bit for bit as they were; a
    model without an input shape is built.

    Parameters
    ----------
    model : Sequential
    x, y, loss, batch_size, clip_norm
        As for `model.fit`.
    optimizer : Optimizer
        Made from this model's `parameters()`; its own rate does not matter.
    start, end : float
        The rates of the first and of the last step, 0 < start < end.
    steps : int
        At least 20.
    seed : int
        Decides the order of the samples.

    Returns
    -------
    LRCurve
        Its `suggestion` suits a constant rate, and as the largest rate a schedule that rises
        and falls.

    Raises
    ------
    ValueError
        When the loss never fell, so that no rate can be suggested: another range may help.
    TypeError, ValueError
        For a wrong argument.

    Source: Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3;
    with rates that grow exponentially, and a suggestion.
    """
    plan = Plan(
        x, y, 1, batch_size, optimizer, loss or CrossEntropyLoss(), clip_norm=clip_norm, seed=seed
    )
    steps = whole_number(steps, "steps", 20)
    low = real_number(start, "start", 1e-300)
    growth = real_number(end, "end") / low
    if growth <= 1:
        raise ValueError(f"start is {start} and end is {end}; expected start < end")
    model.build(plan.x.shape[1:])
    check_owner(optimizer, model, None)
    lrs = [low * growth ** (i / (steps - 1)) for i in range(steps)]
    with rehearsal(model, optimizer):
        model.train()
        losses, means = _try(model, plan, lrs)
    return LRCurve(lrs[: len(losses)], losses, means, _suggestion(lrs, means))


def _try(model: Model, plan: Plan, lrs: list[float]) -> tuple[list[float], list[float]]:
    """The loss and the mean loss at each rate, until they explode."""
    losses: list[float] = []
    means: list[float] = []
    weighted = 0.0
    for lr, (x, y) in zip(lrs, _endless(plan), strict=False):
        plan.optimizer.lr = lr
        loss, _ = model.train_and_count(x, y, plan.loss, plan.optimizer, plan.clip_norm)
        if not math.isfinite(loss):
            break
        weighted = SMOOTHING * weighted + (1 - SMOOTHING) * loss
        losses.append(loss)
        # The weights of n losses add up to 1 - SMOOTHING^n, as in Adam.
        means.append(weighted / (1 - SMOOTHING ** len(losses)))
        if means[-1] > DIVERGED * min(means):
            break
    return losses, means


def _endless(plan: Plan) -> Iterator[Batch]:
    """The batches of one epoch after the other, without those that are too short."""
    size = min(plan.batch_size, len(plan.x))
    for epoch in itertools.count():
        for batch in batches(plan.x, plan.y, size, shuffle=True, seed=plan.seed, epoch=epoch):
            if len(batch[0]) == size:
                yield batch


def _suggestion(lrs: list[float], means: list[float]) -> float:
    """Safely below the rate that brought the mean loss down, nearly as far as it came.

    Where the loss was lowest would say less: on data that are learned within the search it stays
    low, and creeps lower, at rates that are far too large to start with.
    """
    lowest = means.index(min(means)) if means else 0
    if lowest < FEW:
        raise ValueError(
            f"the loss did not fall at any learning rate from {lrs[0]:g} on; try a smaller start, "
            "or look at the data"
        )
    top = max(means[:lowest])
    enough = top - FALLEN * (top - means[lowest])
    first = next(i for i in range(means.index(top), lowest + 1) if means[i] <= enough)
    return lrs[first] / SAFE
