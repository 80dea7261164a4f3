"""Prepared predictions: any kind of array, and every change of the model noticed."""

import copy
import tracemalloc

import numpy as np
import pytest
from checks import assert_same_bits

import minicnn as mc
from engine.nets import random_net
from minicnn.lowering.cache import PassCache


def net():
    model = mc.Sequential(
        mc.Conv2d(2, 20, 3, padding=1), mc.BatchNorm2d(20), mc.ReLU(), mc.MaxPool2d(2),
        mc.Sequential(mc.Conv2d(20, 17, 3, padding=1), mc.LeakyReLU(0.1)), mc.AvgPool2d(2),
        mc.Dropout(0.5), mc.Linear(None, 5), seed=3,
    ).build((2, 16, 16))  # fmt: skip
    g = np.random.default_rng(2)
    model[1].running_mean[...] = g.normal(size=20)
    model[1].running_var[...] = g.uniform(0.5, 2, 20)
    return model


def images(n=9):
    return np.random.default_rng(1).normal(size=(n, 2, 16, 16)).astype(np.float32)


def by_layers(model, x):
    mc.set_engine(False)
    try:
        return copy.deepcopy(model).logits(x)
    finally:
        mc.set_engine(True)


def assert_answers_like_its_layers(model, x):
    expected = by_layers(model, x)
    np.testing.assert_allclose(
        model.logits(x), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max()
    )


def misaligned(x):
    buffer = np.empty(x.nbytes + 1, np.uint8)[1:]
    buffer[...] = x.view(np.uint8).reshape(-1)
    return buffer.view(np.float32).reshape(x.shape)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "kind",
    [
        np.asfortranarray, misaligned, read_only, lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"), lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: x.tolist(),
        lambda x: np.array(x)[:, ::-1][:, ::-1], lambda x: x.view(np.memmap),
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", (1, 9, 150))
def test_any_kind_of_array_has_the_same_answers(kind, n):
    model, x = net(), images(n)
    expected = model.logits(x.copy())
    other = kind(x)
    if isinstance(other, list):
        other = np.asarray(other)  # what a list of numbers stands for is float64
    for _ in range(2):
        assert_same_bits(model.logits(other), expected)


def test_bytes_are_scaled_as_they_always_are():
    model = net()
    x = np.random.default_rng(0).integers(0, 256, (150, 2, 16, 16), np.uint8)
    expected = model.logits(mc.arrays.as_float32(x))
    for batch_size in (256, 7, np.int64(40)):
        assert_same_bits(model.logits(x, batch_size), expected)


@pytest.mark.parametrize("n", (1, 64, 65, 300))
def test_batches_longer_than_a_run_are_answered_as_one_by_one(n):
    model, x = net(), images(n)
    alone = np.concatenate([model.logits(x[i : i + 1]) for i in range(n)])
    for threads in (1, 2, 3):
        mc.set_num_threads(threads)
        assert_same_bits(model.logits(x), alone)


def protected(x, tmp_path):
    """The same values in pages that nobody may write to: an attempt ends the process."""
    x.tofile(tmp_path / "x")
    return np.memmap(tmp_path / "x", x.dtype, "r", shape=x.shape)


def test_images_in_protected_memory_are_only_read(tmp_path):
    model = mc.Sequential(mc.Conv2d(2, 16, 3), mc.ReLU(), mc.Linear(None, 3)).build((2, 16, 16))
    x, y = images(64), np.arange(64) % 3
    assert_same_bits(model.logits(protected(x, tmp_path)), model.logits(x))
    twin = copy.deepcopy(model)
    losses = [
        m.train_step(batch, y, mc.CrossEntropyLoss(), mc.SGD(m.parameters(), 0.1))
        for m, batch in ((model, np.asarray(protected(x, tmp_path))), (twin, x))
    ]
    assert losses[0] == losses[1]


def test_answers_belong_to_the_caller():
    model, x = net(), images()
    first = model.logits(x)
    kept = first.copy()
    model.logits(-x)
    assert_same_bits(first, kept)
    first[...] = 7
    assert_same_bits(model.logits(x), kept)
    flat = mc.Sequential(mc.Flatten()).build((2, 16, 16))
    assert not np.shares_memory(flat.logits(x), x)


CHANGES = {
    "weights in place": lambda m: m[0].weight.data.__imul__(1.5),
    "one weight": lambda m: m[4][0].weight.data.__setitem__((3, 2, 1, 1), 9.0),
    "a bias": lambda m: m[4][0].bias.data.__setitem__(3, 9.0),
    "the block": lambda m: m.flat_parameters.__setitem__(slice(None), 0.01),
    "other array": lambda m: setattr(m[0].weight, "data", 1.5 * m[0].weight.data),
    "state": lambda m: m.load_state_dict(
        {name: (0.9 * array).astype(array.dtype) for name, array in m.state_dict().items()}
    ),
    "drawn anew": lambda m: m.reset_parameters(9),
    "average": lambda m: setattr(m[5], "kernel_size", (1, 1)),
    "stride": lambda m: (
        vars(m[4][0]).update(stride=(2, 2))
        or vars(m[5]).update(stride=(1, 1))
        or vars(m[5]).update(kernel_size=(1, 1))
    ),
    "dilation": lambda m: vars(m[0]).update(padding=(2, 2), dilation=(2, 2)),
    "window": lambda m: setattr(m[3], "kernel_size", (1, 1)),
    "slope": lambda m: setattr(m[4][1], "negative_slope", 0.7),
    "eps": lambda m: setattr(m[1], "eps", 0.5),
    "mean": lambda m: m[1].running_mean.__iadd__(1),
    "variance": lambda m: m[1].running_var.__imul__(3),
    "gamma": lambda m: m[1].weight.data.__setitem__(0, -4.0),
    "beta": lambda m: m[1].bias.data.__setitem__(19, 4.0),
    "no variance": lambda m: m[1].running_var.fill(0),
    "appended": lambda m: m.layers.append(mc.ReLU()),
    "replaced": lambda m: m.layers.__setitem__(2, mc.LeakyReLU(0.3)),
    "inner replaced": lambda m: m[4].layers.__setitem__(1, mc.ReLU()),
    "removed": lambda m: m.layers.pop(2),
    "foreign": lambda m: m.layers.__setitem__(2, mc.GELU()),
    "mode": lambda m: m.train(),
    "other mode": lambda m: m.eval(),
}


@pytest.mark.parametrize("winograd", (False, True))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("n", (1, 3))
def test_change_between_answers_is_noticed(change, winograd, n):
    mc.set_winograd(winograd)
    try:
        model, x = net(), images(n)
        before = model.logits(x)
        assert_answers_like_its_layers(model, x)
        change(model)
        assert_answers_like_its_layers(model, x)
        found = model.logits(x)
        same = change in (CHANGES["mode"], CHANGES["other mode"])
        assert same == (found.shape == before.shape and np.allclose(found, before, 1e-6, 1e-7))
    finally:
        mc.set_winograd(True)


def test_array_that_no_plan_can_read_is_left_to_the_layers():
    model, x = net(), images()
    model.logits(x)
    model[7].weight.data = np.asfortranarray(model[7].weight.data)
    with pytest.raises(ValueError, match="not C-contiguous"):
        model.logits(x)


def test_training_between_answers_is_noticed():
    model, x = net(), images(8)
    optimizer, loss = mc.SGD(model.parameters(), 0.1), mc.CrossEntropyLoss()
    for _ in range(4):
        assert_answers_like_its_layers(model, x)
        model.train_step(x, np.arange(8) % 5, loss, optimizer)


def test_switches_hold_for_models_that_have_answered():
    model, x = net(), images()
    found = model.logits(x)
    mc.set_engine(False)
    slow = model.logits(x)
    assert not np.array_equal(found, slow)
    mc.set_engine(True)
    assert_same_bits(model.logits(x), found)
    mc.set_winograd(False)
    try:
        direct = model.logits(x)
    finally:
        mc.set_winograd(True)
    assert not np.array_equal(found, direct)
    assert_same_bits(model.logits(x), found)


def test_unchanged_model_answers_without_being_looked_at_anew(monkeypatch):
    model, x = net(), images()
    expected = model.logits(x)
    monkeypatch.setattr(PassCache, "find", lambda *_: pytest.fail("looked for a plan again"))
    assert_same_bits(model.logits(x), expected)
    model.train()
    assert_same_bits(model.logits(x), expected)


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_answer_like_their_layers(seed):
    model, x = random_net(seed)
    for n in (1, len(x)):
        expected = by_layers(model.build(x.shape[1:]), x[:n])
        for threads in (1, 3):
            mc.set_num_threads(threads)
            np.testing.assert_allclose(
                model.logits(x[:n]), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
            )


@pytest.mark.parametrize("dtype", (np.float32, np.uint8, np.float64))
def test_images_are_never_copied_as_a_whole(dtype):
    model = mc.Sequential(mc.Conv2d(3, 8, 3, stride=4), mc.Linear(None, 3)).build((3, 64, 64))
    x = np.ones((512, 3, 64, 64), dtype)
    model.logits(x)
    tracemalloc.start()
    try:
        model.logits(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (2**16 if dtype == np.float32 else x.size * 4 / 3)


@pytest.mark.parametrize("batch_size", (0, -1, 2.5, "4", None))
def test_wrong_batch_size_is_refused_also_by_a_prepared_model(batch_size):
    model, x = net(), images()
    model.logits(x)
    with pytest.raises((TypeError, ValueError)):
        model.logits(x, batch_size)


def test_no_samples_are_an_error_also_for_a_prepared_model():
    model = net()
    model.logits(images())
    with pytest.raises(ValueError, match="nothing to predict"):
        model.logits(images()[:0])
