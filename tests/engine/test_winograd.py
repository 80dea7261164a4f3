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
from minicnn.lowering import choice
from minicnn.lowering.nodes import make_nodes
from minicnn.lowering.winograd import winograd_method

# docs/numerics.md: errors relative to the largest value.
TOLERANCE = 5e-6


@pytest.fixture(autouse=True)
def channels_in_the_lanes(monkeypatch):
    monkeypatch.setattr(choice, "ACROSS", "channels")
    yield
    mc.set_winograd(True)


def uses_winograd(model, shape, training=True):
    nodes = make_nodes(list(model.build(shape).leaves().values()), shape, training)
    return [winograd_method(node, training) is not None for node in nodes]


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
# At stride 2: even and odd numbers of rows and columns, a last row or column that no window
# reaches, a border wider than a window; more weights than values, whose gradients are made for
# all samples.
STRIDED_CASES = [
    (16, 32, (15, 17), 0, 1), (16, 48, (12, 14), 1, 5), (33, 17, (10, 14), 0, 3),
    (35, 19, (13, 12), 1, 7), (24, 40, (8, 9), 3, 2), (16, 70, (13, 12), 2, 17),
    (16, 32, (57, 44), 1, 2), (64, 70, (13, 13), 0, 9), (64, 64, (12, 12), 1, 70),
]  # fmt: skip
ALL_CASES = [(1, *case) for case in CASES] + [(2, *case) for case in STRIDED_CASES]


@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize(("stride", "inputs", "outputs", "image", "padding", "batch"), ALL_CASES)
def test_passes_agree_with_the_oracle(stride, inputs, outputs, image, padding, batch, relu):
    """The first layer has few channels and direct sums; its weight gradient is made of dx."""
    first = mc.Conv2d(3, inputs, 1)
    layer = mc.Conv2d(inputs, outputs, 3, stride=stride, padding=padding, bias=not relu)
    model = mc.Sequential(first, *([mc.ReLU()] if relu else []), layer, seed=batch)
    x, dy = data_for(model, (3, *image), batch)
    assert uses_winograd(model, x.shape[1:]) == [False, True]
    y, gradients = run(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    assert_close(y, expected_y, TOLERANCE, np.abs(expected_y).max())
    for name, value in expected.items():
        assert_close(gradients[name], value, TOLERANCE, np.abs(value).max())


@pytest.mark.parametrize(
    ("stride", "inputs", "outputs", "image", "padding", "batch"), ALL_CASES[:6] + ALL_CASES[-9:]
)
def test_results_are_the_same_bits_for_any_number_of_threads(
    stride, inputs, outputs, image, padding, batch
):
    layer = mc.Conv2d(inputs, outputs, 3, stride=stride, padding=padding)
    layers = [mc.Conv2d(3, inputs, 1), mc.ReLU(), layer]
    model = mc.Sequential(*layers, seed=1)
    x, dy = data_for(model, (3, *image), batch)
    y, gradients = run(model, x, dy)
    for threads in THREADS[1:]:
        again_y, again = run(model, x, dy, threads)
        assert_same_bits(again_y, y)
        for name in gradients:
            assert_same_bits(again[name], gradients[name])


@pytest.mark.parametrize(("stride", "inputs", "outputs", "image", "padding", "batch"), ALL_CASES)
def test_relu_behind_it_sees_every_output(stride, inputs, outputs, image, padding, batch):
    results = []
    for more in ((), (mc.ReLU(),)):
        layer = mc.Conv2d(inputs, outputs, 3, stride=stride, padding=padding)
        model = mc.Sequential(mc.Conv2d(3, inputs, 1), layer, *more, mc.AvgPool2d(1), seed=batch)
        x, dy = data_for(model, (3, *image), batch)
        assert uses_winograd(model, x.shape[1:])[1]
        results.append(run(model, x, dy)[0])
    assert (results[0] < 0).any()
    np.testing.assert_array_equal(results[1], np.maximum(results[0], 0))


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


@pytest.mark.parametrize("row", range(4, 9))
@pytest.mark.parametrize("column", (0, 7, 8, 14))
def test_value_that_is_not_a_number_goes_where_direct_sums_take_it_at_stride_2(row, column):
    layers = [mc.Conv2d(3, 16, 1), mc.Conv2d(16, 32, 3, stride=2, padding=1)]
    model = mc.Sequential(*layers, seed=2).build((3, 15, 15))
    x, dy = data_for(model, (3, 15, 15), 2)
    assert uses_winograd(model, (3, 15, 15)) == [False, True]
    x[1, 2, row, column] = np.nan
    fast, _ = run(model, x, dy)
    mc.set_winograd(False)
    direct, _ = run(model, x, dy)
    assert 0 < np.isnan(direct).sum() <= 32 * 4
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(direct))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: mc.Conv2d(16, 16, 3, padding=1), True),
        (lambda: mc.Conv2d(16, 16, 3), True),
        (lambda: mc.Conv2d(15, 16, 3, padding=1), False),
        (lambda: mc.Conv2d(16, 15, 3, padding=1), False),
        (lambda: mc.Conv2d(16, 32, 3, stride=2, padding=1), True),
        (lambda: mc.Conv2d(32, 16, 3, stride=2, padding=1), True),
        (lambda: mc.Conv2d(16, 31, 3, stride=2, padding=1), False),
        (lambda: mc.Conv2d(32, 15, 3, stride=2, padding=1), False),
        (lambda: mc.Conv2d(32, 32, 3, stride=(1, 2), padding=1), False),
        (lambda: mc.Conv2d(32, 32, 3, stride=3, padding=1), False),
        (lambda: mc.Conv2d(32, 32, 3, stride=2, dilation=2, padding=2), False),
        (lambda: mc.Conv2d(32, 32, 3, stride=2, groups=2), False),
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
    assert winograd.DENSE.pays(32, 32, height, width, slots) == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(4, 4, True), (3, 3, False), (5, 5, False), (2, 4, False), (1, 64, False), (2, 2, False)],
)
def test_small_maps_at_stride_2_are_left_to_direct_sums(height, width, expected):
    """The weights at the products, 25 for each 9, pass by for each sample."""
    assert winograd.STRIDED.pays(32, 32, height, width, 1) == expected


def test_convolution_at_stride_2_that_does_the_pooling_as_well_keeps_direct_sums():
    layers = [mc.Conv2d(32, 32, 3, stride=2), mc.MaxPool2d(2)]
    model = mc.Sequential(*layers, seed=2).build((32, 21, 21))
    nodes = make_nodes(list(model.leaves().values()), (32, 21, 21), True)
    assert winograd_method(nodes[0], True) is winograd.STRIDED
    assert winograd_method(nodes[0], True, nodes[1]) is None


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
