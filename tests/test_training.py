"""The epoch loop: what it computes, what it refuses, and how it ends."""

import gc
import math
import os
import random
import re
import signal
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from training_checks import digits, linear_net, small_net, state_bytes, with_nan

import minicnn as mc
from minicnn.data.batches import batches
from minicnn.schedulers import OneCycleLR, ReduceLROnPlateau, StepLR
from minicnn.training import Plan


def train(model=None, epochs=2, batch_size=64, data=None, **arguments):
    """A short training; returns model, optimizer, history."""
    model = model or small_net()
    optimizer = arguments.pop("optimizer", None) or mc.SGD(model.parameters(), lr=0.1)
    x, y = data or digits()[0]
    history = model.fit(x, y, epochs, batch_size, optimizer=optimizer, **arguments)
    return model, optimizer, history


class Spy(mc.Callback):
    """Notes every event, and after each step what `look(run)` sees."""

    def __init__(self, look=lambda run: None):
        self.events, self.seen, self.look = [], [], look

    def on_train_begin(self, run):
        self.events.append("train begin")

    def on_epoch_begin(self, run):
        self.events.append(f"epoch {run.epoch} begin")

    def on_batch_end(self, run):
        self.events.append(f"batch {run.batch} of {run.batches}")
        self.seen.append(self.look(run))

    def on_epoch_end(self, run):
        self.events.append(f"epoch {run.epoch} end")

    def on_train_end(self, run):
        self.events.append("train end")

    def close(self, run):
        self.events.append("close")


class RaiseAt(mc.Layer):
    """An identity that raises in forward or backward at its n-th call."""

    def __init__(self, where, call, error=KeyboardInterrupt):
        super().__init__()
        self.where, self.left, self.error = where, call, error

    def pass_on(self, where, array):
        if where == self.where:
            self.left -= 1
            if not self.left:
                raise self.error
        return array

    def forward(self, x):
        return self.pass_on("forward", x)

    def backward(self, dy):
        return self.pass_on("backward", dy)


# --- what it computes ------------------------------------------------------------------------


def test_fit_equals_train_steps_over_the_seeded_batches():
    (x, y), _ = digits()
    model, _, history = train(seed=5)
    by_hand = small_net()
    optimizer, loss_fn = mc.SGD(by_hand.parameters(), lr=0.1), mc.CrossEntropyLoss()
    means = []
    for epoch in range(2):
        losses = [
            (by_hand.train_step(xb, yb, loss_fn, optimizer), len(yb))
            for xb, yb in batches(x, y, 64, shuffle=True, seed=5, epoch=epoch)
        ]
        means.append(sum(loss * n for loss, n in losses) / len(x))
    assert state_bytes(model) == state_bytes(by_hand)
    assert history["loss"] == pytest.approx(means, rel=1e-12)  # the same sum in float64


def test_fit_without_shuffle_takes_the_samples_in_order():
    (x, y), _ = digits(96)
    model, _, _ = train(linear_net(), 1, 32, shuffle=False, seed=9)
    same, _, _ = train(linear_net(), 1, 32, shuffle=False, seed=1)
    shuffled, _, _ = train(linear_net(), 1, 32, seed=1)
    assert state_bytes(model) == state_bytes(same) != state_bytes(shuffled)


def test_fit_learns_the_digits():
    _, validation = digits()
    _, _, history = train(epochs=12, batch_size=32, validation_data=validation)
    assert history.best("val_accuracy")["val_accuracy"] > 0.8  # chance is 0.1


def test_history_has_one_row_an_epoch_with_all_columns():
    _, validation = digits()
    model, _, history = train(epochs=3, validation_data=validation)
    assert history["epoch"] == [1, 2, 3]
    assert history.columns() == [
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds",
        "images_per_second", "wait_seconds",
    ]  # fmt: skip
    last = model.evaluate(*validation)
    assert (history[-1]["val_loss"], history[-1]["val_accuracy"]) == tuple(last.values())
    assert all(0 < row["wait_seconds"] < row["seconds"] for row in history)
    assert all(0 < row["seconds"] and 0 < row["images_per_second"] for row in history)


def test_history_accuracy_counts_the_samples_as_they_were_trained_on():
    (x, y), _ = digits(64)
    model = linear_net()
    before = model.evaluate(x, y)
    _, _, history = train(model, 1, 64, data=(x, y))  # one batch: judged before its only step
    assert history[0]["accuracy"] == before["accuracy"]
    # The loss of the shuffled batch is the same sum in another order.
    assert history[0]["loss"] == pytest.approx(before["loss"], rel=1e-6)


def test_clip_norm_bounds_the_step():
    model = linear_net()
    before = model.flat_parameters.copy()
    train(model, 1, 200, optimizer=mc.SGD(model.parameters(), lr=1.0), clip_norm=0.01)
    # The step is lr · gradient, and its norm 0.01 up to float32 rounding of each value.
    assert np.linalg.norm(model.flat_parameters - before) == pytest.approx(0.01, rel=1e-3)


def test_drop_last_leaves_out_the_short_batch():
    spy = Spy(lambda run: run.samples)
    train(epochs=1, batch_size=64, drop_last=True, callbacks=[spy])
    assert spy.seen == [64, 128, 192]


def test_last_short_batch_by_default_is_trained_on():
    spy = Spy(lambda run: run.samples)
    train(epochs=1, batch_size=64, callbacks=[spy])
    assert spy.seen == [64, 128, 192, 200]


# --- callbacks and schedules -----------------------------------------------------------------


def test_callbacks_are_told_everything_in_order():
    spy = Spy()
    train(epochs=2, batch_size=100, callbacks=[spy])
    epochs = [
        [f"epoch {e} begin", "batch 1 of 2", "batch 2 of 2", f"epoch {e} end"] for e in (1, 2)
    ]
    assert spy.events == ["train begin", *epochs[0], *epochs[1], "train end", "close"]


def test_callbacks_after_an_error_are_closed():
    spy = Spy()
    model = mc.Sequential(RaiseAt("forward", 2, RuntimeError), *linear_net())
    with pytest.raises(RuntimeError):
        train(model, callbacks=[spy])
    assert spy.events[-1] == "close" and "train end" not in spy.events


def test_callbacks_when_one_fails_to_close_are_all_closed():
    class Fail(mc.Callback):
        def close(self, run):
            raise OSError("no")

    before, after = Spy(), Spy()
    with pytest.raises(OSError, match="no"):
        train(callbacks=[before, Fail(), after])
    assert before.events[-1] == after.events[-1] == "close"


def test_request_stop_ends_with_the_present_epoch():
    class Stop(mc.Callback):
        def on_batch_end(self, run):
            run.request_stop("enough")

    spy = Spy()
    _, _, history = train(epochs=5, batch_size=100, callbacks=[Stop(), spy])
    assert len(history) == 1
    assert spy.events[-4:] == ["batch 2 of 2", "epoch 1 end", "train end", "close"]


def test_logs_within_an_epoch_are_means_so_far():
    spy = Spy(lambda run: (run.batch_loss, run.logs["loss"]))
    train(epochs=1, batch_size=100, callbacks=[spy])
    (first, mean_1), (second, mean_2) = spy.seen
    assert mean_1 == first and mean_2 == pytest.approx((first + second) / 2)


def test_schedule_by_epoch_is_stepped_after_each_epoch():
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=0.8)
    schedule = StepLR(optimizer, 1, gamma=0.5)
    _, _, history = train(model, 3, optimizer=optimizer, schedule=schedule)
    assert history["lr"] == [0.8, 0.4, 0.2]


def test_schedule_by_batch_is_stepped_after_each_batch():
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=0.8, momentum=0.9)
    schedule = OneCycleLR(optimizer, 0.5, total_steps=8)
    spy = Spy(lambda run: run.lr)
    train(model, 2, 64, optimizer=optimizer, schedule=schedule, callbacks=[spy])
    assert spy.seen == [schedule.lr_at(t) for t in range(8)]


@pytest.mark.parametrize("mode, metric", [("min", "val_loss"), ("max", "val_accuracy")])
def test_schedule_on_a_plateau_gets_the_validation_metric(mode, metric):
    _, validation = digits()
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    schedule = ReduceLROnPlateau(optimizer, mode=mode)
    seen = []
    step = schedule.step
    schedule.step = lambda value: (seen.append(value), step(value))
    _, _, history = train(model, 3, optimizer=optimizer, schedule=schedule,
                          validation_data=validation)  # fmt: skip
    assert seen == history[metric]


# --- the mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [True, False])
def test_fit_trains_in_training_mode_and_leaves_the_mode_as_it_was(mode):
    model = small_net().train(mode)
    spy = Spy(lambda run: model.training and model[1].training)
    train(model, callbacks=[spy])
    assert all(spy.seen)
    assert model.training is model[1].training is mode


def test_fit_after_an_error_leaves_the_mode_as_it_was():
    model = mc.Sequential(RaiseAt("backward", 1, RuntimeError), *linear_net()).eval()
    with pytest.raises(RuntimeError):
        train(model)
    assert not model.training


# --- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"epochs": 1.5}, TypeError, "epochs is 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"x": np.zeros((5, 64), np.int32)}, TypeError, "int32"),
        ({"x": np.zeros((0, 64), np.float32), "y": []}, ValueError, r"\(0, 64\)"),
        ({"x": np.zeros(5, np.float32)}, ValueError, r"\(5,\)"),
        ({"y": np.zeros(4, int)}, ValueError, "got 4 for 5 samples"),
        ({"y": np.zeros(5)}, TypeError, "float64"),
        ({"clip_norm": -1}, ValueError, "clip_norm is -1"),
        ({"clip_norm": math.nan}, ValueError, "clip_norm is nan"),
        ({"shuffle": 1}, TypeError, "shuffle is 1"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"drop_last": True, "batch_size": 6}, ValueError, "5 samples, less than one batch of 6"),
        ({"validation_data": np.zeros(3)}, TypeError, "expected a pair"),
        (
            {"validation_data": (np.zeros((2, 8), np.float32), [0, 1])},
            ValueError,
            r"\(8,\); expected \(64,\)",
        ),
        ({"validation_data": (np.zeros((2, 64), np.float32), [0])}, ValueError, "got 1 for 2"),
    ],
)
def test_plan_with_a_wrong_argument_is_refused(change, error, message):
    good = {"x": np.zeros((5, 64), np.float32), "y": np.zeros(5, int), "epochs": 1,
            "batch_size": 2, "optimizer": None, "loss": None}  # fmt: skip
    Plan(**good)
    with pytest.raises(error, match=message):
        Plan(**{**good, **change})


def test_fit_with_another_models_optimizer_is_refused():
    foreign = mc.SGD(linear_net().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="not this model's"):
        train(linear_net(), optimizer=foreign)


def test_fit_with_something_else_as_callback_is_refused():
    with pytest.raises(TypeError, match="expected Callback objects"):
        train(callbacks=[print])


def test_fit_with_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        train(learning_rate=0.1)


def test_fit_when_the_last_batch_holds_one_value_per_channel_is_refused_before_training():
    model = mc.Sequential(mc.Flatten(), mc.Linear(64, 10), mc.BatchNorm1d(10))
    before = state_bytes(model.build((1, 8, 8)))
    data = digits(129)[0]
    with pytest.raises(mc.ShapeError, match="layer 2 BatchNorm1d.*drop_last=True"):
        train(model, data=data)
    assert state_bytes(model) == before and model.training
    train(model, data=data, drop_last=True)


def test_fit_when_the_last_batch_holds_one_sample_of_many_values_trains_on_it():
    model = small_net()
    steps = train(model, 1, data=digits(129)[0])[1].steps
    assert steps == 3 and model.generator_steps() == {"4": 3}


# --- divergence ------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 70, 199])
def test_fit_with_nan_in_the_data_stops_at_that_step_with_the_weights_before_it(row):
    (x, y), _ = digits()
    broken = with_nan(x, row)
    model, spy = small_net(), Spy(lambda run: state_bytes(run.model))
    with pytest.raises(mc.DivergedError, match="loss is nan") as caught:
        train(model, data=(broken, y), shuffle=False, callbacks=[spy])
    step = row // 64 + 1
    assert (caught.value.epoch, caught.value.step) == (1, step)
    assert f"step {step} of 4" in str(caught.value)
    # Not even BatchNorm's statistics have seen the broken batch.
    if step > 1:
        assert state_bytes(model) == spy.seen[-1]
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    assert model.generator_steps() == {"4": step - 1}


class Explode(mc.Callback):
    """Spoils the weights behind the loop's back, as a gradient that overflows would."""

    def __init__(self, epoch, batch, value):
        self.place, self.value = (epoch, batch), value

    def on_batch_end(self, run):
        if (run.epoch, run.batch) == self.place:
            run.model.flat_parameters[3] = self.value


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fit_with_spoilt_weights_at_the_end_of_an_epoch_goes_back_to_the_last_good_one(value):
    good = state_bytes(train(epochs=1)[0])
    model = small_net()
    with pytest.raises(mc.DivergedError, match="0.weight is not finite.*after epoch 1") as caught:
        train(model, 3, callbacks=[Explode(2, 4, value)])
    assert (caught.value.epoch, caught.value.step) == (2, 4)
    assert state_bytes(model) == good


def test_fit_with_spoilt_weights_within_an_epoch_goes_back_to_the_last_good_one():
    good = state_bytes(train(epochs=1)[0])
    model = small_net()
    with pytest.raises(mc.DivergedError, match="loss is nan.*after epoch 1") as caught:
        train(model, 3, callbacks=[Explode(2, 2, np.nan)])
    assert (caught.value.epoch, caught.value.step) == (2, 3)
    assert state_bytes(model) == good


def test_fit_with_nan_in_the_validation_data_stops_after_the_epoch():
    (x, y), (xv, yv) = digits()
    with pytest.raises(mc.DivergedError, match="val_loss is nan"):
        train(data=(x, y), validation_data=(with_nan(xv, 1), yv))


def test_fit_with_a_huge_learning_rate_names_the_step_and_keeps_finite_weights():
    model = small_net()
    with pytest.raises(mc.DivergedError, match="Try a lower learning rate"):
        train(model, 30, optimizer=mc.SGD(model.parameters(), lr=1e30))
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


# --- Ctrl-C ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_fit_interrupted_within_a_step_leaves_the_model_as_before_that_step(where):
    model = mc.Sequential(*small_net(), RaiseAt(where, 4))
    seen = Spy(lambda run: (state_bytes(run.model), run.model.generator_steps()))
    optimizer = mc.Adam(model.parameters())
    with pytest.raises(KeyboardInterrupt):
        train(model, 1, optimizer=optimizer, callbacks=[seen])
    assert len(seen.seen) == 3
    assert (state_bytes(model), model.generator_steps()) == seen.seen[-1]
    assert optimizer.steps == 3


def test_fit_with_ctrl_c_inside_the_optimizers_step_finishes_the_step_first():
    def optimizer(model, before):
        """One whose update is a Python function, so that a signal can come into it."""
        made = mc.SGD(model.parameters(), lr=0.1)
        update = made.update
        made.update = lambda *arguments: (before(), update(*arguments))
        return made

    twin, model = small_net(), small_net()
    train(twin, 1, 200, optimizer=optimizer(twin, lambda: None))
    interrupted = optimizer(model, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(model, 3, 200, optimizer=interrupted)
    assert interrupted.steps == 1
    assert state_bytes(model) == state_bytes(twin)


def at_boundary(steps):
    """Model state and Dropout counters after that many whole steps, made by hand."""
    (x, y), _ = digits()
    model = small_net().build((1, 8, 8))
    optimizer, loss_fn = mc.Adam(model.parameters()), mc.CrossEntropyLoss()
    for epoch in range(steps // 4 + 1):
        for xb, yb in batches(x, y, 64, shuffle=True, seed=0, epoch=epoch):
            if optimizer.steps == steps:
                break
            model.train_step(xb, yb, loss_fn, optimizer)
    return state_bytes(model), model.generator_steps()


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector_callbacks")
def test_fit_with_ctrl_c_at_random_moments_always_leaves_whole_steps():
    delays, reached = random.Random(0), set()
    for _ in range(25):
        model = small_net()
        optimizer = mc.Adam(model.build((1, 8, 8)).parameters())
        delay = delays.uniform(0.002, 0.03)
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            train(model, 10_000, optimizer=optimizer, validation_data=digits()[1])
        timer.join()
        assert (state_bytes(model), model.generator_steps()) == at_boundary(optimizer.steps)
        reached.add(optimizer.steps)
    assert len(reached) > 5, "the signals must land in different steps"


# --- memory and silence ----------------------------------------------------------------------


def test_fit_over_many_epochs_does_not_grow_in_memory():
    sizes = []

    class Measure(mc.Callback):
        def on_epoch_end(self, run):
            if run.epoch in (20, 60):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])

    data = digits(32)[0]
    tracemalloc.start()
    try:
        train(linear_net(), 60, 16, data=data, callbacks=[Measure()])
    finally:
        tracemalloc.stop()
    # A row of the history takes about half a KB; the smallest array of the model takes 40 B
    # and the weights 2.5 KB, which would show at once.
    assert (sizes[1] - sizes[0]) / 40 < 1000


def test_fit_prints_nothing(capfd):
    train()
    assert capfd.readouterr() == ("", "")


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch):
    page = Path(__file__).parent.parent / "docs" / "training.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    assert len(blocks) == 4
    assert names["history"]["epoch"] == [1, 2, 3, 4, 5]
    assert names["history"]["seconds"][:3] == [None] * 3
