"""Predictions of fewer samples than threads: the work on one sample is divided."""

import time

import numpy as np
import pytest
from checks import assert_same_bits

import minicnn as mc
from engine.nets import random_net
from engine.test_prediction import by_layers
from minicnn.engine import Plan
from minicnn.lowering import parts, passes

THREADS = (2, 3, 4, 8)


def conv(*arguments, **options):
    return lambda: mc.Conv2d(*arguments, **options)


NETS = {
    "tall": ((3, 61, 5), [conv(3, 20, 3, padding=1), mc.ReLU, conv(20, 7, 3, stride=2)]),
    "wide": ((2, 4, 70), [conv(2, 33, (2, 5)), conv(33, 18, 3, stride=(1, 3), padding=1)]),
    "tiny": ((4, 2, 2), [conv(4, 50, 2), mc.ReLU, conv(50, 3, 1)]),
    "pooled": ((1, 28, 28), [conv(1, 6, 5, padding=2), mc.ReLU, lambda: mc.MaxPool2d(2)]),
    "pooled far": ((3, 23, 20), [conv(3, 40, 3, stride=2), lambda: mc.MaxPool2d(3)]),
    "winograd": ((16, 16, 13), [conv(16, 70, 3, padding=1), mc.ReLU, conv(70, 16, 3)]),
    "winograd, few tiles": ((128, 8, 8), [conv(128, 128, 3, padding=1), lambda: mc.MaxPool2d(2)]),
    "at stride 2": ((3, 27, 35), [conv(3, 20, 1), conv(20, 70, 3, stride=2, padding=1), mc.ReLU]),
    "at stride 2, few tiles": ((64, 9, 9), [conv(64, 128, 3, stride=2)]),
    "winograd, then a pool": ((20, 31, 9), [conv(20, 40, 3), lambda: mc.MaxPool2d(3, 2, 1)]),
    "normalised": ((16, 12, 12), [conv(16, 32, 3, padding=1), lambda: mc.BatchNorm2d(32), mc.ReLU,
                                  lambda: mc.AvgPool2d(2), conv(32, 5, 1), mc.LeakyReLU]),
}  # fmt: skip


def model_and_images(name, n):
    shape, makers = NETS[name]
    model = mc.Sequential(*(make() for make in makers), mc.Linear(None, 9), seed=4).build(shape)
    return model, np.random.default_rng(n).normal(size=(n, *shape)).astype(np.float32)


@pytest.fixture(params=(2, 40), ids=("some parts", "more parts than rows"))
def many_parts(request, monkeypatch):
    monkeypatch.setattr(parts, "WORTH", 1)
    monkeypatch.setattr(parts, "MOVED", 1)
    monkeypatch.setattr(parts, "LEAST_TILES", 1)
    monkeypatch.setattr(parts, "SPARE", request.param)
    monkeypatch.setattr(parts, "SPARE_OF_TILES", request.param)


@pytest.mark.parametrize("n", (1, 2, 3, 7))
@pytest.mark.parametrize("name", NETS)
def test_divided_work_has_the_same_bits_for_any_number_of_threads(name, n, many_parts):
    model, x = model_and_images(name, n)
    mc.set_num_threads(1)
    alone = model.logits(x)
    expected = by_layers(model, x)
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    for threads in THREADS:
        mc.set_num_threads(threads)
        for _ in range(2):  # memory that the first run has left behind must not matter
            assert_same_bits(model.logits(x), alone)


@pytest.mark.parametrize("seed", range(60))
def test_random_nets_have_the_same_bits_for_any_number_of_threads(seed, many_parts):
    model, x = random_net(seed)
    mc.set_num_threads(1)
    whole = model.logits(x)
    for threads in THREADS:
        mc.set_num_threads(threads)
        for n in (1, 3):
            assert_same_bits(model.logits(x[:n]), whole[:n])


def test_parts_of_winograds_method_share_tiles_or_outputs(monkeypatch):
    """Many tiles are shared out; of few, or where the weights are large beside x, outputs are."""
    monkeypatch.setattr(parts, "WORTH", 1)
    monkeypatch.setattr(parts, "HEAVY", 10**6)
    found = []
    monkeypatch.setattr(
        "minicnn.lowering.lower.divide",
        lambda node, threads: (parts.divide(node, threads), found.append(node.op)),
    )
    mc.set_num_threads(4)
    model, x = model_and_images("winograd", 1)
    model.logits(x)
    model, x = model_and_images("winograd, few tiles", 1)
    model.logits(x)
    grids = [(op.parts, op.output_parts) for op in found if op.winograd]
    by_tiles = 16 // parts.LEAST_TILES
    assert (4, 4 // by_tiles) in grids  # of 16 tiles and 3 panels
    assert (4, 4) in grids  # of 4 tiles and 4 panels

    found.clear()
    mc.set_num_threads(2)
    for heavy in (10**6, 0):
        monkeypatch.setattr(parts, "HEAVY", heavy)
        model, x = model_and_images("winograd", 1)
        model.logits(x)
    first_layers = [op for op in found if op.winograd and op.inputs == 16]
    assert [(op.parts, op.output_parts) for op in first_layers] == [(2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("batch", "threads", "divided"),
    ((1, 1, False), (1, 2, True), (2, 2, False), (3, 2, True), (9, 2, False), (5, 8, True),
     (8, 8, False), (12, 8, True), (33, 8, False)),
)  # fmt: skip
def test_work_is_divided_where_whole_samples_leave_threads_without(batch, threads, divided):
    assert parts.is_divided(batch, threads) == divided


def test_small_plans_are_shared_only_right_after_one_another(monkeypatch):
    """Threads that sleep would have to be woken, which takes longer than such a plan."""
    monkeypatch.setattr(passes, "SMALL", 2**20)
    mc.set_num_threads(2)
    model = mc.Sequential(mc.Conv2d(1, 6, 5, padding=2), mc.MaxPool2d(2), mc.Conv2d(6, 16, 5))
    x = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)
    alone = model.logits(x)
    prediction = model.pass_cache.predictions[x.shape]
    time.sleep(0.001)
    assert_same_bits(model.logits(x), alone)
    assert prediction.used == 1
    found, used = [], []
    for _ in range(200):  # a busy machine may well come in between
        found.append(model.logits(x))
        used.append(prediction.used)
    assert 2 in used
    for answer in found:
        assert_same_bits(answer, alone)
    large, few = model.passes_for(x).multiply_adds, passes.SMALL_IN_A_ROW
    assert few < large < passes.SMALL


def test_number_of_threads_may_change_between_answers():
    model, x = model_and_images("winograd", 1)
    expected = model.logits(x)
    for threads in (1, 3, 2, 1, 8):
        mc.set_num_threads(threads)
        assert_same_bits(model.logits(x), expected)
        plans = [found.plan for found in model.pass_cache.made.values() if found]
        assert all(isinstance(plan, Plan) for plan in plans)
