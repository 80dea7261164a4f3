"""TimeBudget: by a clock that the test moves, alone and in trainings that are resumed."""

from types import SimpleNamespace

import pytest
from test_resume import EPOCHS, StopAt, averaged, folders, train  # noqa: F401
from training_checks import folder_bytes

import minicnn as mc
from minicnn.training.callbacks import time_budget
from minicnn.training.plan import Run

REASON = "the time budget of 1 min leaves no room for another epoch"


@pytest.fixture
def clock(monkeypatch):
    """Stands for the module `time`; `clock.now` is in seconds."""
    fake = SimpleNamespace(now=1000.0)
    fake.perf_counter = lambda: fake.now
    monkeypatch.setattr(time_budget, "time", fake)
    return fake


def play(clock, budget, seconds, planned=100, epoch=0):
    """Epochs made, and why no more, when each takes so many seconds."""
    run = Run(None, SimpleNamespace(epochs=planned), epoch=epoch)
    budget.on_train_begin(run)
    for length in seconds:
        if run.stop_reason or run.epoch == planned:
            break
        run.epoch += 1
        clock.now += length
        budget.on_epoch_end(run)
    return run.epoch, run.stop_reason


@pytest.mark.parametrize(
    "budget, seconds, epochs",
    [
        ({}, [20] * 9, 3),  # ends with the minute
        ({}, [20.1] * 9, 2),  # the third would end 0.3 s late
        ({}, [90] * 9, 1),  # one epoch there is always
        ({"spent": 30}, [20] * 9, 1),
        ({"spent": 100}, [1] * 9, 1),
        ({"expected": 50}, [20] * 9, 3),  # until one was measured
        ({}, [5, 15, 5, 15, 5, 15, 5, 15], 6),  # after 45 s 15 more fit; after 60 none
        ({}, [20, 3, 3, 3, 3, 3, 3, 3, 3], 9),  # a slow start is forgotten after three
    ],
)
def test_time_budget_begins_no_epoch_that_would_not_fit(clock, budget, seconds, epochs):
    made, reason = play(clock, mc.TimeBudget(1, **budget), seconds)
    assert made == epochs
    assert reason == (REASON if epochs < len(seconds) else None)


def test_time_budget_after_the_last_planned_epoch_stops_nothing(clock):
    assert play(clock, mc.TimeBudget(1), [50, 50], planned=1) == (1, None)


@pytest.mark.parametrize("budget, epochs", [({"spent": 40, "expected": 20}, 4), ({}, 6)])
def test_time_budget_of_a_resumed_run_may_allow_none(clock, budget, epochs):
    assert play(clock, mc.TimeBudget(1, **budget), [20] * 9, epoch=3)[0] == epochs
    assert play(clock, mc.TimeBudget(1, spent=40, expected=21), [20], epoch=3) == (3, REASON)


def test_time_budget_used_again_starts_anew(clock):
    budget = mc.TimeBudget(1)
    assert play(clock, budget, [20] * 9) == play(clock, budget, [20] * 9) == (3, REASON)


class Tick(mc.Callback):
    """Moves the clock at the end of an epoch, before the budget looks at it."""

    def __init__(self, clock, seconds=20.0):
        self.clock, self.seconds = clock, seconds

    def on_epoch_end(self, run):
        self.clock.now += self.seconds


def test_time_budget_ends_the_training_and_what_was_made_is_that_of_a_run_without(
    clock, folders  # noqa: F811
):  # fmt: skip
    whole, parts = folders
    train(whole, averaged, epochs=EPOCHS)
    _, history = train(parts, averaged, callbacks=[mc.EMA(0.9), Tick(clock), mc.TimeBudget(1)])
    assert len(history) == 3
    _, first = train(whole, averaged, epochs=3, callbacks=[mc.EMA(0.9)])
    assert history.to_json(timings=False) == first.to_json(timings=False)
    # Only the number of epochs that were planned is another one.
    model = "model/0.weight"
    states = [mc.checkpoint.read(f / "last.safetensors")[0][model] for f in folders]
    assert states[0].tobytes() == states[1].tobytes()


def test_time_budget_resumed_gives_the_files_of_an_uninterrupted_run(clock, folders):  # noqa: F811
    whole, parts = folders
    for folder, stop in ((whole, None), (parts, (2, 3))):
        extra = [StopAt(*stop)] if stop else []
        budget = [mc.EMA(0.9), Tick(clock), mc.TimeBudget(1)]
        if stop:
            with pytest.raises(KeyboardInterrupt):
                train(folder, averaged, callbacks=[*budget, *extra])
            budget[2] = mc.TimeBudget(1, spent=20.0)  # of the epoch that was finished
        train(folder, averaged, callbacks=budget, resume=bool(stop))
    assert folder_bytes(parts) == folder_bytes(whole)


@pytest.mark.parametrize("arguments", [{"minutes": -1}, {"minutes": 1, "spent": -1},
                                       {"minutes": 1, "expected": float("nan")}])  # fmt: skip
def test_time_budget_with_a_wrong_argument_is_refused(arguments):
    with pytest.raises(ValueError, match="expected a number in"):
        mc.TimeBudget(**arguments)
