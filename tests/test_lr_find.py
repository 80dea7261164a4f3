"""The learning-rate finder: what it tries, what it suggests, and that it leaves no trace."""

import math

import numpy as np
import pytest
from training_checks import digits, linear_net, small_net, state_bytes

import minicnn as mc
from minicnn.data.batches import batches
from minicnn.training.lr_finder import DIVERGED, SAFE, SMOOTHING, _suggestion
from minicnn.training.rehearsal import rehearsal


def trained(make=mc.Adam, lr=0.01):
    """A model and its optimizer in the middle of a training, every kind of state in use."""
    model = small_net().build((1, 8, 8))
    optimizer = make(model.parameters(), lr=lr)
    x, y = digits(96)[0]
    for first in range(0, 96, 32):
        part = slice(first, first + 32)
        model.train_step(x[part], y[part], mc.CrossEntropyLoss(), optimizer)
    return model, optimizer


def everything(model, optimizer):
    """All that a training step can change, as bytes."""
    state = optimizer.state_dict()
    slots = {name: slot.tobytes() for name, slot in state.pop("slots").items()}
    gradients = model.flat_gradients.tobytes()
    return (
        state_bytes(model), gradients, model.generator_steps(), model.training, state, slots
    )  # fmt: skip


@pytest.mark.parametrize("make", [mc.Adam, mc.SGD, lambda p, lr: mc.SGD(p, lr, momentum=0.9)])
@pytest.mark.parametrize("mode", [True, False])
def test_lr_find_leaves_model_and_optimizer_bit_for_bit_as_they_were(make, mode):
    model, optimizer = trained(make)
    model.train(mode)
    before = everything(model, optimizer)
    mc.lr_find(model, *digits()[0], optimizer=optimizer)
    assert everything(model, optimizer) == before


def test_lr_find_between_two_steps_changes_nothing_in_the_next():
    (x, y), _ = digits(64)
    results = []
    for find in (False, True):
        model, optimizer = trained()
        if find:
            mc.lr_find(model, *digits()[0], optimizer=optimizer)
        loss = model.train_step(x, y, mc.CrossEntropyLoss(), optimizer)
        results.append((loss, *everything(model, optimizer)))
    assert results[0] == results[1]


def test_lr_find_leaves_a_layer_in_the_mode_that_it_has_by_itself():
    model, optimizer = trained()
    model[1].eval()  # a frozen BatchNorm
    mc.lr_find(model, *digits()[0], optimizer=optimizer)
    assert [layer.training for layer in model] == [True, False, True, True, True, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_rehearsal_that_ends_with_an_error_leaves_no_trace(error):
    model, optimizer = trained()
    before = everything(model, optimizer)
    with pytest.raises(error), rehearsal(model, optimizer):
        model.eval()
        model.flat_parameters[...] = np.nan
        optimizer.lr = 7.0
        model.train().train_step(*digits(32)[0], mc.CrossEntropyLoss(), optimizer)
        raise error
    assert everything(model, optimizer) == before


def test_comparison_notices_every_kind_of_state():
    model, optimizer = trained()
    for change in (
        lambda: model.flat_parameters.__setitem__(0, 9.0),
        lambda: model.flat_gradients.__setitem__(0, 9.0),
        lambda: model.buffers()["1.running_mean"].__setitem__(0, 9.0),
        lambda: model.load_generator_steps({"4": 99}),
        model.eval,
        lambda: setattr(optimizer, "lr", 9.0),
        lambda: optimizer.slots["exp_avg"].__setitem__(0, 9.0),
        lambda: setattr(optimizer, "steps", 99),
    ):
        before = everything(model, optimizer)
        change()
        assert everything(model, optimizer) != before


def test_lr_find_losses_are_those_of_steps_at_growing_rates():
    (x, y), _ = digits(96)
    model = linear_net()
    found = mc.lr_find(model, x, y, optimizer=mc.SGD(model.parameters(), lr=1.0), batch_size=32,
                       start=1e-3, end=1.0, steps=31, seed=5)  # fmt: skip
    by_hand = linear_net()
    optimizer, loss_fn = mc.SGD(by_hand.parameters(), lr=1.0), mc.CrossEntropyLoss()
    losses, rates = [], []
    for epoch in range(11):
        for xb, yb in batches(x, y, 32, shuffle=True, seed=5, epoch=epoch):
            optimizer.lr = 1e-3 * 1000 ** (len(losses) / 30)
            rates.append(optimizer.lr)
            losses.append(by_hand.train_step(xb, yb, loss_fn, optimizer))
    assert found.losses == losses[: len(found.losses)] and len(found.losses) == 31
    assert found.lrs == pytest.approx(rates[:31], rel=1e-12)


def test_lr_find_means_are_weighted_towards_the_last_steps_and_sum_to_one():
    model = linear_net()
    found = mc.lr_find(model, *digits()[0], optimizer=mc.SGD(model.parameters(), lr=1.0))
    for n in (1, 2, 10, len(found.losses)):
        weights = SMOOTHING ** np.arange(n)[::-1]
        expected = float(weights @ found.losses[:n] / weights.sum())
        assert found.means[n - 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "means, place",
    [
        ([2.0] * 6 + [1.5, 1.0, 1.2, 5.0], 7),  # the lowest is the first that is low enough
        ([2.0] * 6 + [1.5, 1.04, 1.01, 1.0, 5.0], 7),
        ([2.0] * 6 + [1.5, 1.06, 1.01, 1.0, 5.0], 8),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.5, 0.9], 7),  # what was before the top does not count
        ([2.0, 1.9, 1.8, 1.7, 1.6, 1.0], 5),  # never rises
    ],
)
def test_suggestion_lies_below_the_rate_that_brought_the_loss_down(means, place):
    lrs = [10.0**i for i in range(len(means))]
    assert _suggestion(lrs, means) == lrs[place] / SAFE


def test_lr_find_ends_where_the_loss_explodes_or_is_no_number():
    (x, y), _ = digits()
    model = linear_net()
    optimizer = mc.SGD(model.parameters(), lr=1.0)
    found = mc.lr_find(model, x, y, optimizer=optimizer, end=1e6, steps=200)
    assert len(found.lrs) == len(found.losses) == len(found.means) < 200
    assert found.means[-1] > DIVERGED * min(found.means)
    assert all(mean <= DIVERGED * min(found.means[: i + 1])
               for i, mean in enumerate(found.means[:-1]))  # fmt: skip
    wild = mc.lr_find(model, x, y, optimizer=optimizer, start=1e-3, end=1e38, steps=100)
    assert len(wild.losses) < 100 and all(map(math.isfinite, wild.losses))


@pytest.mark.parametrize(
    "make", [mc.AdamW, lambda p, lr: mc.SGD(p, lr, momentum=0.9, nesterov=True)]
)
def test_lr_find_suggestion_trains_the_digits_well(make):
    (x, y), validation = digits(900, 300)
    model = small_net()
    optimizer = make(model.build((1, 8, 8)).parameters(), lr=1.0)
    optimizer.lr = mc.lr_find(model, x, y, optimizer=optimizer).suggestion
    history = model.fit(x, y, 6, 32, optimizer=optimizer, validation_data=validation)
    assert history[-1]["val_accuracy"] > 0.85  # chance is 0.1


def test_lr_find_builds_a_model_and_uses_whole_batches_only():
    model = mc.Sequential(mc.Flatten(), mc.Linear(None, 10), mc.BatchNorm1d(10))
    sizes = []

    class Sizes(mc.CrossEntropyLoss):
        def __call__(self, logits, labels):
            sizes.append(len(labels))
            return super().__call__(logits, labels)

    optimizer = mc.SGD(model.build((1, 8, 8)).parameters(), lr=1.0)
    # 33 samples: a lone last one would be an error of BatchNorm
    mc.lr_find(model, *digits(33)[0], optimizer=optimizer, loss=Sizes(), batch_size=32)
    assert set(sizes) == {32}
    sizes.clear()
    mc.lr_find(model, *digits(20)[0], optimizer=optimizer, loss=Sizes(), batch_size=32)
    assert set(sizes) == {20}


def test_lr_find_with_a_loss_that_never_falls_says_so():
    (x, y), _ = digits()
    model = linear_net()
    with pytest.raises(ValueError, match="did not fall at any learning rate from 1e\\+06 on"):
        mc.lr_find(model, x, y, optimizer=mc.SGD(model.parameters(), lr=1.0), start=1e6, end=1e9)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"start": 0.0}, ValueError, "start is 0.0"),
        ({"start": 1.0, "end": 0.5}, ValueError, "expected start < end"),
        ({"steps": 19}, ValueError, "steps is 19"),
        ({"steps": 20.0}, TypeError, "steps is 20.0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"optimizer": mc.SGD(linear_net().parameters(), lr=1.0)}, ValueError, "not this model's"),
    ],
)
def test_lr_find_with_a_wrong_argument_is_refused(arguments, error, message):
    (x, y), _ = digits(40)
    model = linear_net()
    good = {"optimizer": mc.SGD(model.parameters(), lr=1.0)}
    with pytest.raises(error, match=message):
        mc.lr_find(model, x, y, **{**good, **arguments})
