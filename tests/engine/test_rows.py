"""Linear where a slot holds one sample: every size of tile, and of what tiles leave over."""

import copy

import numpy as np
import pytest
from checks import assert_close, assert_same_bits, sum_tolerance

import minicnn as mc
from engine.nets import oracle_passes
from minicnn.lowering import choice

SIZES = (1, 3, 4, 15, 16, 17, 31, 33, 64, 100)


@pytest.fixture(autouse=True)
def channels_in_the_lanes(monkeypatch):
    monkeypatch.setattr(choice, "ACROSS", "channels")


def both_passes(model, x, dy, threads=1):
    mc.set_num_threads(threads)
    model = copy.deepcopy(model)
    model.flat_gradients[...] = np.nan
    plans = model.passes_for(model.prepare(x))
    y = plans.forward(x)
    plans.backward(dy)
    return y, {name: p.grad.copy() for name, p in model.named_parameters().items()}


def answer(model, x):
    return model.passes_for(model.prepare(x)).forward(x)


def check(batch, inputs, middle, outputs, seed, threads=(1, 3)):
    """Two layers: the second one has a dx, through a ReLU, and reads what the first one wrote."""
    model = mc.Sequential(
        mc.Linear(inputs, middle, bias=seed % 3 > 0), mc.ReLU(), mc.Linear(middle, outputs),
        seed=seed,
    ).build((inputs,))  # fmt: skip
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, inputs)).astype(np.float32)
    dy = rng.normal(size=(batch, outputs)).astype(np.float32)
    y, gradients = both_passes(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    tolerance = 4 * sum_tolerance(max(batch, inputs, middle, outputs))  # sums of sums
    assert_close(y, expected_y, tolerance, np.abs(expected_y).max())
    for name, value in expected.items():
        assert_close(gradients[name], value, tolerance, np.abs(value).max(), may_be_zero=True)
    again_y, again = both_passes(model, x, dy, threads[-1])
    assert_same_bits(again_y, y)
    for name in gradients:
        assert_same_bits(again[name], gradients[name])


@pytest.mark.parametrize("inputs", SIZES)
@pytest.mark.parametrize("middle", SIZES)
def test_rows_of_odd_sizes_agree_with_the_oracle_and_between_threads(inputs, middle):
    for batch, outputs in ((1, 10), (2, 3), (3, 1), (4, 17), (5, 6), (7, 4), (13, 10), (66, 5)):
        check(batch, inputs, middle, outputs, seed=inputs * 7 + middle + batch)


@pytest.mark.parametrize(
    ("batch", "inputs", "middle"), ((3, 2050, 70), (20, 1025, 33), (130, 300, 20), (20, 40, 300))
)
def test_rows_longer_than_a_block_agree_with_the_oracle_and_between_threads(batch, inputs, middle):
    check(batch, inputs, middle, 9, seed=batch)


@pytest.mark.parametrize(("inputs", "outputs"), ((84, 10), (400, 120), (2100, 37), (5, 3)))
def test_answer_for_a_sample_does_not_depend_on_the_others(inputs, outputs):
    model = mc.Sequential(mc.Linear(inputs, outputs), seed=1).build((inputs,))
    x = np.random.default_rng(0).normal(size=(70, inputs)).astype(np.float32)
    y = answer(model, x)
    for batch in (1, 2, 3, 4, 5, 7, 8, 9, 17, 65):
        assert_same_bits(answer(model, x[:batch]), y[:batch])


@pytest.mark.parametrize(("inputs", "outputs"), ((64, 128), (784, 64), (1027, 40), (7, 3)))
def test_rows_may_start_anywhere(inputs, outputs):
    model = mc.Sequential(mc.Linear(inputs, outputs), seed=1).build((inputs,))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, inputs)).astype(np.float32)
    dy = rng.normal(size=(9, outputs)).astype(np.float32)
    room = np.zeros(values.size + 32, np.float32)
    first = -room.ctypes.data % 64 // 4
    found = []
    for start in (0, 1, 4, 15):
        x = room[first + start :][: values.size].reshape(values.shape)
        x[...] = values
        found.append(both_passes(model, x, dy))
        assert_same_bits(answer(model, x), found[0][0])
    for y, gradients in found[1:]:
        assert_same_bits(y, found[0][0])
        for name, value in gradients.items():
            assert_same_bits(value, found[0][1][name])


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_what_is_not_finite_stays_with_its_sample_and_its_output(value):
    model = mc.Sequential(mc.Linear(21, 7), seed=2).build((21,))
    x = np.random.default_rng(0).normal(size=(6, 21)).astype(np.float32)
    expected = answer(model, x)
    x[2, 20] = value
    model[0].weight.data[3, 0] = np.nan
    y = answer(model, x)
    rows, columns = np.arange(6) != 2, np.arange(7) != 3
    assert_same_bits(y[np.ix_(rows, columns)], expected[np.ix_(rows, columns)])
    assert not np.isfinite(y[2]).any() and np.isnan(y[:, 3]).all()
