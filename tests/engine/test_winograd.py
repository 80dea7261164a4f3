"""Winograd's method for 3×3 convolutions, against the float64 oracle and against direct sums."""

import os
import subprocess
import sys

import numpy as np
import pytest
from checks import THREADS, assert_close, assert_same_bits, sum_tolerance

import minicnn as mc
from engine.nets import oracle_passes
from engine.test_passes import engine_passes, gradient_for, run
from minicnn.engine import winograd
from minicnn.layers.mode import inference
from minicnn.lowering import channels, choice
from minicnn.lowering.nodes import make_nodes

# docs/numerics.md: errors relative to the largest value.
TOLERANCE = 5e-6


@pytest.fixture(autouse=True)
def channels_in_the_lanes(monkeypatch):
    monkeypatch.setattr(choice, "ACROSS", "channels")
    yield
    mc.set_winograd(True)


def uses_winograd(model, shape, training=True):
    nodes = make_nodes(list(model.build(shape).leaves().values()), shape, training)
    return [channels.suits_winograd(node, training) for node in nodes]


def data_for(model, shape, batch, seed=0):
    x = np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)
    return x, gradient_for(model, x, seed)


# Channels that fill vectors and that do not; maps of whole and of broken tiles, of fewer tiles
# than a block and of more; batches that fill groups of samples and that do not.
CASES = [
    (16, 16, (8, 8), 1, 1), (16, 48, (9, 7), 1, 5), (33, 17, (6, 12), 0, 3), (20, 19, (4, 4), 2, 7),
    (24, 40, (5, 6), 3, 2), (16, 70, (8, 8), 1, 17), (130, 16, (7, 8), 1, 9),
    (16, 16, (57, 44), 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize(("inputs", "outputs", "image", "padding", "batch"), CASES)
def test_passes_agree_with_the_oracle(inputs, outputs, image, padding, batch, relu):
    """The first layer has few channels and direct sums; its weight gradient is made of dx."""
    first = mc.Conv2d(3, inputs, 1)
    layer = mc.Conv2d(inputs, outputs, 3, padding=padding, bias=not relu)
    model = mc.Sequential(first, *([mc.ReLU()] if relu else []), layer, seed=batch)
    x, dy = data_for(model, (3, *image), batch)
    assert uses_winograd(model, x.shape[1:]) == [False, True]
    y, gradients = run(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    assert_close(y, expected_y, TOLERANCE, np.abs(expected_y).max())
    for name, value in expected.items():
        assert_close(gradients[name], value, TOLERANCE, np.abs(value).max())


@pytest.mark.parametrize(("inputs", "outputs", "image", "padding", "batch"), CASES[:6])
def test_results_are_the_same_bits_for_any_number_of_threads(
    inputs, outputs, image, padding, batch
):
    layers = [mc.Conv2d(3, inputs, 1), mc.ReLU(), mc.Conv2d(inputs, outputs, 3, padding=padding)]
    model = mc.Sequential(*layers, seed=1)
    x, dy = data_for(model, (3, *image), batch)
    y, gradients = run(model, x, dy)
    for threads in THREADS[1:]:
        again_y, again = run(model, x, dy, threads)
        assert_same_bits(again_y, y)
        for name in gradients:
            assert_same_bits(again[name], gradients[name])


def test_prediction_for_a_sample_does_not_depend_on_the_others():
    model = mc.Sequential(mc.Conv2d(16, 32, 3, padding=1), seed=2).build((16, 8, 8)).eval()
    assert uses_winograd(model, (16, 8, 8), training=False) == [True]
    x, _ = data_for(model, (16, 8, 8), 21)
    with inference():
        together = engine_passes(model, x).forward(x)
        alone = engine_passes(model, x[4:5]).forward(x[4:5])
    assert_same_bits(alone[0], together[4])


def test_value_that_is_not_a_number_stays_within_its_tiles():
    """A window reaches one pixel beyond its tile of 4×4 outputs."""
    model = mc.Sequential(mc.Conv2d(16, 16, 3, padding=1), seed=2).build((16, 12, 12))
    x, dy = data_for(model, (16, 12, 12), 2)
    x[1, 3, 1, 1] = np.nan
    y, _ = run(model, x, dy)
    lost = np.isnan(y)
    assert lost[1, :, :4, :4].all()
    assert lost.sum() == 16 * 16


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: mc.Conv2d(16, 16, 3, padding=1), True),
        (lambda: mc.Conv2d(16, 16, 3), True),
        (lambda: mc.Conv2d(15, 16, 3, padding=1), False),
        (lambda: mc.Conv2d(16, 15, 3, padding=1), False),
        (lambda: mc.Conv2d(16, 16, 3, stride=2, padding=1), False),
        (lambda: mc.Conv2d(16, 16, 3, dilation=2, padding=2), False),
        (lambda: mc.Conv2d(32, 32, 3, groups=2, padding=1), False),
        (lambda: mc.Conv2d(16, 16, 5, padding=2), False),
    ],
)
def test_only_dense_3x3_convolutions_of_many_channels_use_it(layer, expected):
    made = layer()
    assert uses_winograd(mc.Sequential(made), (made.in_channels, 12, 12)) == [expected]


@pytest.mark.parametrize(
    ("height", "width", "slots", "expected"),
    [(8, 8, 1, True), (4, 4, 8, True), (4, 4, 1, False), (1, 64, 8, False), (5, 5, 8, False)],
)
def test_maps_of_few_or_half_empty_tiles_are_left_to_direct_sums(height, width, slots, expected):
    assert winograd.pays(32, 32, height, width, slots) == expected


def test_set_winograd_changes_the_next_pass():
    model = mc.Sequential(mc.Conv2d(16, 16, 3, padding=1), seed=2).build((16, 8, 8))
    x, dy = data_for(model, (16, 8, 8), 2)
    fast = run(model, x, dy)[0]
    mc.set_winograd(False)
    assert uses_winograd(model, (16, 8, 8)) == [False]
    direct = run(model, x, dy)[0]
    assert np.abs(fast - direct).max() > 0
    expected, _ = oracle_passes(model, x, dy)
    assert_close(direct, expected, sum_tolerance(9 * 16), np.abs(expected).max())


def test_set_winograd_changes_the_next_step():
    layers = [mc.Conv2d(16, 16, 3, padding=1), mc.GlobalAvgPool2d(), mc.Linear(None, 3)]
    model = mc.Sequential(*layers, seed=2).build((16, 8, 8))
    x, labels = data_for(model, (16, 8, 8), 2)[0], np.array([0, 1])
    still = mc.SGD(model.parameters(), 1e-30)
    gradients = []
    for enabled in (True, False, True):
        mc.set_winograd(enabled)
        model.train_step(x, labels, mc.CrossEntropyLoss(), still)
        gradients.append(model.flat_gradients.copy())
    assert_same_bits(gradients[0], gradients[2])
    assert np.abs(gradients[0] - gradients[1]).max() > 0


def test_set_winograd_refuses_what_is_not_a_bool():
    with pytest.raises(TypeError, match="enabled is 1; expected True or False"):
        mc.set_winograd(1)


@pytest.mark.parametrize(("value", "expected"), (("0", "False"), ("1", "True"), (None, "True")))
def test_environment_decides_at_the_start(value, expected):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    environment.pop("MINICNN_WINOGRAD", None)
    if value is not None:
        environment["MINICNN_WINOGRAD"] = value
    program = "from minicnn.engine import winograd_enabled; print(winograd_enabled())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr
