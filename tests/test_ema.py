"""The moving average of the weights: its values, who sees it and when, and how it ends."""

import numpy as np
import pytest
from training_checks import digits, linear_net, small_net, state_bytes

import minicnn as mc

DECAY = 0.9


class Look(mc.Callback):
    """Notes the model's state after every step and at the end of every epoch."""

    def __init__(self):
        self.steps, self.epochs = [], []

    def on_batch_end(self, run):
        self.steps.append(run.model.state_dict())

    def on_epoch_end(self, run):
        self.epochs.append(run.model.state_dict())


def train(*callbacks, epochs=3, model=None, lr=0.2, data=None):
    """model, history, and what was seen on the way."""
    training, validation = digits(96, 40)
    model = model or small_net()
    optimizer = mc.SGD(model.build((1, 8, 8)).parameters(), lr=lr, momentum=0.9)
    look = Look()
    history = model.fit(*(data or training), epochs, 32, optimizer=optimizer,
                        validation_data=validation, callbacks=[*callbacks, look])  # fmt: skip
    return model, history, look


def oracle(start, steps, decay, warmup):
    """The averages after each step, in float64."""
    average = {name: array.astype(np.float64) for name, array in start.items()}
    found = []
    for t, state in enumerate(steps):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        average = {name: d * a + (1 - d) * state[name] for name, a in average.items()}
        found.append(average)
    return found


def assert_averages(state, expected, last):
    for name, array in state.items():
        if array.dtype == np.float32:
            # Three float32 roundings a step, which fade away as the average does.
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert array == last[name]  # a count is that of the training


@pytest.mark.parametrize("decay, warmup", [(0.9, True), (0.9, False), (0.3, True), (0.0, False)])
def test_ema_after_every_epoch_and_at_the_end_is_the_average_of_the_oracle(decay, warmup):
    model, _, look = train(mc.EMA(decay, warmup))
    start = small_net().build((1, 8, 8)).state_dict()
    expected = oracle(start, look.steps, decay, warmup)
    for epoch in range(3):
        last = 3 * epoch + 2
        assert_averages(look.epochs[epoch], expected[last], look.steps[last])
    assert state_bytes(model) == {k: a.tobytes() for k, a in look.epochs[-1].items()}


def test_ema_does_not_change_the_training():
    _, plain, without = train()
    _, averaged, look = train(mc.EMA(DECAY))
    assert all(
        a[name].tobytes() == b[name].tobytes()
        for a, b in zip(look.steps, without.steps, strict=True)
        for name in a
    )
    assert averaged["loss"] == plain["loss"] and averaged["val_loss"] != plain["val_loss"]


def test_ema_is_what_is_validated_and_saved(tmp_path):
    _, validation = digits(96, 40)
    path = tmp_path / "{epoch}.safetensors"
    _, history, _ = train(mc.Checkpoint(path, save_best_only=False), mc.EMA(DECAY))
    for row in history:
        found = mc.load(tmp_path / f"{row['epoch']}.safetensors").evaluate(*validation)
        assert (found["loss"], found["accuracy"]) == (row["val_loss"], row["val_accuracy"])


def test_ema_with_early_stopping_ends_with_the_best_average():
    _, validation = digits(96, 40)
    stopping = mc.EarlyStopping(patience=2)
    model, history, _ = train(stopping, mc.EMA(0.5), epochs=30, lr=3.0, model=linear_net())
    assert len(history) == stopping.best_epoch + 2 < 30
    assert model.evaluate(*validation)["loss"] == history.best()["val_loss"]


def test_ema_after_ctrl_c_within_an_epoch_leaves_the_average():
    class StopAt(mc.Callback):
        def on_batch_end(self, run):
            if (run.epoch, run.batch) == (2, 2):
                raise KeyboardInterrupt

    model, look = small_net(), Look()
    start = small_net().build((1, 8, 8)).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(mc.EMA(DECAY), look, StopAt(), model=model)
    assert_averages(
        model.state_dict(), oracle(start, look.steps, DECAY, True)[-1], look.steps[-1]
    )  # fmt: skip


@pytest.mark.parametrize("last", [False, True])
def test_ema_after_a_divergence_leaves_the_last_good_average(last):
    class Spoil(mc.Callback):
        def on_batch_end(self, run):
            if run.epoch == 2 and (run.batch == run.batches) == last:
                run.model.flat_parameters[0] = np.inf

    model, look = small_net(), Look()
    with pytest.raises(mc.DivergedError, match="those after epoch 1"):
        train(Spoil(), mc.EMA(DECAY), look, model=model)
    assert state_bytes(model) == {k: a.tobytes() for k, a in look.epochs[0].items()}


def test_ema_used_again_starts_anew():
    callback = mc.EMA(DECAY)
    first, _, _ = train(callback)
    second, _, _ = train(callback)
    assert state_bytes(first) == state_bytes(second)


def test_ema_of_a_buffer_with_axes_is_averaged_too():
    class Mean(mc.Layer):
        """Remembers a 2×2 mean of what it has seen, in an array that is not contiguous."""

        def initial_buffers(self):
            return {"mean": np.zeros((2, 4), np.float32)[:, ::2]}

        def forward(self, x):
            if self.training:
                self.buffers()["mean"][...] = x.mean(axis=(0, 1))[:2, :2]
            return x

        def backward(self, dy):
            return dy

    model = mc.Sequential(Mean(), mc.Flatten(), mc.Linear(64, 10))
    start = model.build((1, 8, 8)).state_dict()
    _, _, look = train(mc.EMA(DECAY), model=model, epochs=1)
    expected = oracle(start, look.steps, DECAY, True)[-1]
    assert_averages(look.epochs[0], expected, look.steps[-1])


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"decay": 1.0}, ValueError, "decay is 1.0"),
        ({"decay": -0.1}, ValueError, "decay is -0.1"),
        ({"decay": "0.9"}, TypeError, "decay is '0.9'"),
        ({"warmup": 1}, TypeError, "warmup is 1"),
    ],
)
def test_ema_with_a_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mc.EMA(**arguments)
