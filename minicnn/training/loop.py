"""The epoch loop: drives anything that can make a training step and evaluate itself.

The loop decides the order of samples, counts, calls the callbacks and the schedule, and keeps
the state file; what a step is, the model decides. The order of an epoch's samples depends on
the plan's seed and the epoch's number only, so a run can be repeated and resumed.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import NDArray

from ..arrays import as_float32
from ..layers.base import ShapeError
from ..optim import check_owner
from ..steps import Before
from .callbacks import Callback, StopOnNaN
from .feed import Feed
from .history import History
from .plan import Model, Plan, Run
from .resume import StateFile


def fit(
    model: Model,
    plan: Plan,
    callbacks: Sequence[Callback] = (),
    *,
    state_file: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> History:
    """Train `model` as `plan` says; `Sequential.fit` explains the arguments.

    The model trains in training mode and is left in the mode it came in.
    """
    callbacks = _checked_callbacks(callbacks)
    if resume and state_file is None:
        raise ValueError("resume is True, but there is no state_file to resume from; give both")
    run = Run(model, plan)
    model.build(plan.x.shape[1:])
    check_owner(plan.optimizer, model, None)
    _check_last_batch(run)
    state = None if state_file is None else StateFile(state_file, run, callbacks)
    with _training_mode(model), ExitStack() as closing:
        for callback in callbacks:
            closing.callback(callback.close, run)  # each, even when another one's fails
        if state is not None and resume:
            state.restore()
        _tell(callbacks, "on_train_begin", run)
        if state is not None and not resume:
            state.save()
        while run.epoch < plan.epochs and run.stop_reason is None:
            _train_epoch(run, callbacks)
            if state is not None:
                state.save()
        _tell(callbacks, "on_train_end", run)
    return run.history


def _checked_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, with StopOnNaN in front: nothing of a spoilt epoch may reach a file."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks holds {callback!r}; expected Callback objects")
    checks = [callback for callback in callbacks if isinstance(callback, StopOnNaN)]
    others = [callback for callback in callbacks if not isinstance(callback, StopOnNaN)]
    return [*(checks or [StopOnNaN()]), *others]


def _check_last_batch(run: Run) -> None:
    """Try a lone last sample now, because BatchNorm may refuse it at the end of the epoch."""
    plan = run.plan
    if plan.drop_last or plan.batch_size == 1 or len(plan.x) % plan.batch_size != 1:
        return
    before = Before(run.model)
    try:
        with _training_mode(run.model):
            run.model.forward(as_float32(plan.x[:1]))
    except ShapeError as error:
        raise ShapeError(
            f"{error}; of {len(plan.x)} samples in batches of {plan.batch_size} one is left for "
            "the last batch: use drop_last=True, or another batch_size"
        ) from None
    finally:
        before.restore()


@contextmanager
def _training_mode(model: Model) -> Iterator[None]:
    before = model.training
    model.train()
    try:
        yield
    finally:
        model.train(before)


def _tell(callbacks: Sequence[Callback], event: str, run: Run) -> None:
    for callback in callbacks:
        getattr(callback, event)(run)


def _train_epoch(run: Run, callbacks: Sequence[Callback]) -> None:
    """One pass over the data, the validation, the schedule, the callbacks."""
    plan = run.plan
    start = time.perf_counter()
    run.epoch += 1
    run.batch = run.samples = run.correct = 0
    run.loss_sum = 0.0
    _tell(callbacks, "on_epoch_begin", run)
    feed = Feed(plan, run.epoch - 1, run.classes if plan.augment else 1)
    for batch in feed:
        _make_step(run, *batch)
        _tell(callbacks, "on_batch_end", run)
    row = run.logs
    _tell(callbacks, "on_validation_begin", run)
    trained = time.perf_counter()
    if plan.validation_data is not None:
        found = run.model.evaluate(*plan.validation_data, loss=plan.loss)
        row |= {f"val_{name}": value for name, value in found.items()}
    row["seconds"] = time.perf_counter() - start
    row["images_per_second"] = run.samples / (trained - start)
    row["wait_seconds"] = feed.waited
    run.history.append(row)
    _advance(plan.schedule, "epoch", row)
    _tell(callbacks, "on_epoch_end", run)


def _make_step(run: Run, x: NDArray[Any], y: NDArray[Any], indices: Any) -> None:
    """One training step, which the model makes as a whole or not at all."""
    plan = run.plan
    run.lr = plan.optimizer.lr
    loss, correct = run.model.train_and_count(
        x, y, plan.loss, plan.optimizer, plan.clip_norm, indices=indices
    )
    samples = len(x if indices is None else indices)
    run.batch += 1
    run.batch_loss = loss
    run.samples += samples
    run.correct += correct
    run.loss_sum += loss * samples
    _advance(plan.schedule, "batch", {"loss": loss, "accuracy": correct / samples})


def _advance(schedule: Any, interval: str, row: Mapping[str, Any]) -> None:
    """Step the schedule if `interval` is its own.

    One that asks for a metric gets the loss, or when it looks for a maximum the accuracy; of
    the validation data, if there is any.
    """
    if schedule is None or schedule.interval != interval:
        return
    if not getattr(schedule, "needs_metric", False):
        schedule.step()
        return
    metric = "accuracy" if getattr(schedule, "mode", "min") == "max" else "loss"
    schedule.step(row.get(f"val_{metric}", row[metric]))
