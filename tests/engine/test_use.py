"""When the engine is used, and that it notices every change of a model."""

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from checks import assert_same_bits

import minicnn as mc
from engine.nets import random_net
from minicnn.engine import Plan
from minicnn.lowering import Passes


class Twice(mc.Layer):
    """A user's own layer."""

    def forward(self, x):
        return 2 * self.prepare(x)

    def backward(self, dy):
        return 2 * dy


class Mine(mc.Linear):
    """A subclass may compute anything, so it is not taken for a Linear."""


def small_model(*more):
    return mc.Sequential(
        mc.Conv2d(1, 4, 3, padding=1), mc.BatchNorm2d(4), mc.ReLU(), mc.MaxPool2d(2),
        mc.Dropout(0.2), *more, mc.Linear(None, 3), seed=3,
    ).build((1, 8, 8))  # fmt: skip


@pytest.fixture
def batch():
    g = np.random.default_rng(5)
    return g.normal(size=(20, 1, 8, 8)).astype(np.float32), g.integers(0, 3, 20)


def step(model, batch, optimizer=None):
    optimizer = optimizer or mc.SGD(model.parameters(), 0.1)
    return model.train_step(*batch, mc.CrossEntropyLoss(), optimizer)


def covered(model, x):
    return isinstance(model.passes_for(model.prepare(x)), Passes)


@pytest.mark.parametrize(
    "layer", (mc.GELU, Twice, lambda: Mine(None, 5), lambda: mc.MaxPool2d((1, 1), stride=1))
)
def test_models_with_other_layers_train_all_the_same(layer, batch):
    model = small_model(layer())
    assert covered(model, batch[0]) == isinstance(model[5], mc.MaxPool2d)
    optimizer = mc.SGD(model.parameters(), 0.1)
    first = step(model, batch, optimizer)
    for _ in range(20):
        last = step(model, batch, optimizer)
    assert last < first


def test_one_or_two_samples_of_a_large_net_are_left_to_the_layers():
    # Groups keep samples in the lanes, most of which would be idle.
    large, small = (mc.Sequential(mc.Conv2d(32, 32, 3, groups=2)) for _ in range(2))
    for samples in (1, 2, 3):
        assert covered(large, np.ones((samples, 32, 24, 24), np.float32)) == (samples > 2)
        assert covered(small, np.ones((samples, 32, 4, 4), np.float32))


def test_switch_turns_the_engine_off(batch):
    model = small_model()
    assert covered(model, batch[0])
    mc.set_engine(False)
    assert not covered(model, batch[0])
    with pytest.raises(TypeError, match="enabled is 1"):
        mc.set_engine(1)


def test_a_single_sample_is_left_to_the_layers_unless_batchnorm_is_frozen(batch):
    model = small_model()
    assert not covered(model, batch[0][:1])
    model[1].eval()
    assert covered(model, batch[0]) and covered(model, batch[0][:1])
    model.train()
    assert covered(model, batch[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.load_state_dict({k: v * 2 for k, v in small_model().state_dict().items()
                                     if "tracked" not in k}, strict=False),
        lambda m: m.reset_parameters(9),
        lambda m: setattr(m[4], "p", 0.6),
        lambda m: setattr(m[1], "eps", 0.5),
        lambda m: setattr(m[1], "momentum", 0.5),
        lambda m: vars(m[0]).update(padding=(2, 2), dilation=(2, 2)),
        lambda m: setattr(m[3], "kernel_size", (1, 1)),
        lambda m: m.parameters()[0].data.fill(0.25),
    ],
)  # fmt: skip
def test_change_between_steps_is_noticed(change, batch):
    model = small_model()
    step(model, batch)
    twin = copy.deepcopy(model)
    for m in (model, twin):
        change(m)
    assert covered(model, batch[0])
    mc.set_engine(False)
    expected = step(twin, batch)
    mc.set_engine(True)
    assert step(model, batch) == pytest.approx(expected, rel=1e-5)
    assert model[1].running_var == pytest.approx(twin[1].running_var, rel=1e-5)


def test_model_that_was_used_can_be_copied_and_pickled(batch):
    model = small_model()
    step(model, batch)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_bits(twin.logits(batch[0]), model.logits(batch[0]))
        assert covered(twin, batch[0])


def test_batches_of_changing_size_do_not_disturb_each_other(batch):
    x, y = batch
    sizes = (20, 3, 17, 20)
    ends = []
    for fresh in (False, True):
        model = small_model()
        optimizer = mc.SGD(model.parameters(), 0.1, momentum=0.9)
        for size in sizes:
            if fresh:
                model._passes = None  # plans anew
            step(model, (x[:size], y[:size]), optimizer)
        ends.append(model.flat_parameters.copy())
    assert_same_bits(*ends)


@pytest.mark.parametrize("seed", range(20))
def test_prediction_does_not_depend_on_the_batch(seed):
    model, x = random_net(seed)
    x = np.concatenate([x] * 3)[:70]
    whole = model.logits(x)
    assert_same_bits(model.logits(x, batch_size=5), whole)
    mc.set_engine(False)
    np.testing.assert_allclose(whole, model.logits(x), rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_several_threads_predict_with_one_model(batch):
    model = small_model().eval()
    x = np.concatenate([batch[0]] * 20)
    expected, found = model.logits(x), []
    workers = [
        threading.Thread(target=lambda: found.append(model.logits(x, batch_size=33)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for logits in found:
        assert_same_bits(logits, expected)


def test_no_array_is_allocated_after_the_first_step():
    model = mc.Sequential(
        mc.Conv2d(1, 8, 5, padding=2), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 10), seed=0
    )
    g = np.random.default_rng(0)
    x, y = g.normal(size=(64, 1, 28, 28)).astype(np.float32), g.integers(0, 10, 64)
    optimizer = mc.SGD(model.build((1, 28, 28)).parameters(), 0.01, momentum=0.9)
    loss = mc.CrossEntropyLoss()
    model.train_step(x, y, loss, optimizer)
    tracemalloc.start()
    try:
        for _ in range(5):
            model.train_step(x, y, loss, optimizer)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The first activation alone holds 1.6 MB; logits, probabilities and their gradient 10 KB.
    assert left < 16_384 and peak < 65_536


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_non_finite_input_reaches_the_loss_and_leaves_the_weights(value, batch):
    x = batch[0].copy()
    x[7, 0, 3, 3] = value
    model = small_model()
    before = model.flat_parameters.copy()
    assert not np.isfinite(step(model, (x, batch[1])))
    assert_same_bits(model.flat_parameters, before)


def test_nan_reaches_the_same_outputs_as_with_the_layers():
    model = mc.Sequential(
        mc.Conv2d(1, 3, 3, padding=1), mc.ReLU(), mc.MaxPool2d(2, padding=1), mc.LeakyReLU(),
        mc.AvgPool2d(2, stride=1), seed=0,
    ).build((1, 9, 9))  # fmt: skip
    x = np.random.default_rng(0).normal(size=(18, 1, 9, 9)).astype(np.float32)
    x[16, 0, 4, 4], x[3, 0, 0, 0] = np.nan, -np.inf
    found = model.logits(x)
    mc.set_engine(False)
    expected = model.logits(x)
    assert np.isnan(expected).any() and not np.isnan(expected).all()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


def test_plan_refuses_arrays_of_other_sizes():
    model = small_model()
    x = np.zeros((4, 1, 8, 8), np.float32)
    plan = model.passes_for(x).plan
    assert isinstance(plan, Plan)
    good = np.zeros((4, 64), np.float32)
    with pytest.raises(ValueError, match=r"expected \(N, 64\) and \(N, 3\)"):
        plan.forward(good[:, :63].copy(), np.zeros((4, 3), np.float32), 1)
    with pytest.raises(ValueError, match="expected"):
        plan.forward(good, np.zeros((3, 3), np.float32), 1)
    with pytest.raises(ValueError, match="as the last output"):
        plan.backward(np.zeros((4, 3), np.float32), None, 1)


def test_training_with_frozen_batchnorm_is_one_call_and_leaves_its_statistics(batch):
    ends = []
    for engine in (True, False):
        mc.set_engine(engine)
        model = small_model()
        model[1].running_var[...] = (0.5, 1, 2, 3)
        model[1].eval()
        before = {name: array.copy() for name, array in model.buffers().items()}
        optimizer = mc.SGD(model.parameters(), 0.1, momentum=0.9)
        losses = [step(model, batch, optimizer) for _ in range(4)]
        ends.append([*losses, *model.flat_parameters])
        assert bool(model.pass_cache.steps) == engine
        for name, array in model.buffers().items():
            assert_same_bits(array, before[name])
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-6)


def test_large_batch_is_counted_by_its_slots_and_not_by_what_threads_keep(keep_threads):
    """With BatchNorm a thread keeps several times what a slot does."""
    layers = [mc.Conv2d(3, 32, 3, padding=1), mc.BatchNorm2d(32), mc.ReLU()]
    layers += [mc.Conv2d(32, 32, 3, padding=1), mc.BatchNorm2d(32), mc.ReLU(), mc.MaxPool2d(2)]
    model = mc.Sequential(*layers, mc.Linear(None, 10)).build((3, 32, 32))
    passes = model.passes_for(np.zeros((64, 3, 32, 32), np.float32))
    for threads in (1, 2, 64):
        mc.set_num_threads(threads)
        assert passes.fits(6000) and not passes.fits(32768)
