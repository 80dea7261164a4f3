"""The gradient of the input that a plan hands out, against the float64 oracle."""

import numpy as np
import pytest
from checks import THREADS, assert_close, assert_same_bits
from kernels.conv2d_cases import random_case

import minicnn as mc
from engine.nets import oracle_gradients, random_net
from engine.test_passes import NET_TOLERANCE, gradient_for
from minicnn import lowering

FIRST = {
    "conv of few channels": (lambda: mc.Conv2d(3, 8, 3, padding=1), (3, 9, 7)),
    "conv of one channel": (lambda: mc.Conv2d(1, 20, 5, 2, 1), (1, 11, 11)),
    "dilated conv": (lambda: mc.Conv2d(2, 5, 3, dilation=2), (2, 9, 9)),
    "conv of many channels": (lambda: mc.Conv2d(18, 33, 3, 2, 1), (18, 9, 8)),
    "winograd conv": (lambda: mc.Conv2d(16, 16, 3, padding=1), (16, 16, 16)),
    "conv at stride 2": (lambda: mc.Conv2d(18, 33, 3, 2, 1), (18, 15, 12)),
    "conv of one pixel": (lambda: mc.Conv2d(18, 33, 1), (18, 1, 1)),
    "conv of one pixel and a border": (lambda: mc.Conv2d(18, 33, 3, padding=2), (18, 1, 1)),
    "conv of one pixel at stride 2": (lambda: mc.Conv2d(18, 33, 3, 2, 2), (18, 1, 1)),
    "conv with groups": (lambda: mc.Conv2d(4, 8, 3, groups=2), (4, 8, 8)),
    "conv and pool": (
        lambda: mc.Sequential(mc.Conv2d(3, 8, 3, padding=1), mc.ReLU(), mc.MaxPool2d(2)), (3, 8, 8),
    ),
    "linear": (lambda: mc.Linear(37, 11), (37,)),
    "linear on a map": (lambda: mc.Linear(None, 5), (17, 3, 2)),
    "batchnorm of maps": (lambda: mc.BatchNorm2d(19), (19, 5, 4)),
    "batchnorm of rows": (lambda: mc.BatchNorm1d(19), (19,)),
    "batchnorm of a flat map": (
        lambda: mc.Sequential(mc.Flatten(), mc.BatchNorm1d(54)), (6, 3, 3),
    ),
    "max-pool": (lambda: mc.MaxPool2d(3, 2, 1), (18, 7, 7)),
    "avg-pool": (lambda: mc.AvgPool2d(2), (3, 6, 6)),
    "global avg-pool": (mc.GlobalAvgPool2d, (20, 5, 5)),
    "relu": (mc.ReLU, (3, 6, 6)),
    "leaky relu": (lambda: mc.LeakyReLU(0.2), (20,)),
    "dropout": (lambda: mc.Dropout(0.4), (18, 5, 5)),
    "dropout of a row": (lambda: mc.Dropout(0.4), (33,)),
    "dropout of channels": (lambda: mc.Dropout2d(0.4), (5, 6, 6)),
    "one pixel": (lambda: mc.Conv2d(20, 3, 1), (20, 1, 1)),
}  # fmt: skip


def run(model, x, dy, threads=1):
    """(y, dx, gradients by name) of one plan for the whole model; its steps stay as they are."""
    mc.set_num_threads(threads)
    model.flat_gradients[...] = np.nan
    steps = model.generator_steps()
    layers = [*model.leaves().values()]
    passes = model.pass_cache.find(layers, model.flat_parameters, x, input_gradient=True)
    assert passes is not None
    y = passes.forward(x)
    model.load_generator_steps(steps)
    dx = passes.backward(dy)
    return y, dx, {name: p.grad.copy() for name, p in model.named_parameters().items()}


def check(model, x, seed=0):
    """Against the oracle, and the same bits for other numbers of threads."""
    dy = gradient_for(model, x, seed)
    expected_y, expected, expected_dx = oracle_gradients(model, x, dy)
    y, dx, gradients = run(model, x, dy)
    assert_close(y, expected_y, NET_TOLERANCE, np.abs(expected_y).max())
    assert_close(dx, expected_dx, NET_TOLERANCE, np.abs(expected_dx).max(), may_be_zero=True)
    scale = max((np.abs(value).max() for value in expected.values()), default=0)
    for name, value in expected.items():
        assert_close(gradients[name], value, NET_TOLERANCE, scale, may_be_zero=True)
    for threads in THREADS[1:]:
        again_y, again_dx, again = run(model, x, dy, threads)
        assert_same_bits(again_y, y)
        assert_same_bits(again_dx, dx)
        for name in gradients:
            assert_same_bits(again[name], gradients[name])


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("behind", ("nothing", "linear"))
@pytest.mark.parametrize("batch", (3, 19))
@pytest.mark.parametrize("first", FIRST)
def test_input_gradient_is_right_whatever_layer_is_first(first, batch, behind, across, monkeypatch):
    make, shape = FIRST[first]
    if first != "conv with groups":
        monkeypatch.setattr(lowering.choice, "ACROSS", across)
    more = [mc.Linear(None, 6)] if behind == "linear" else []
    model = mc.Sequential(make(), *more, seed=3).build(shape)
    check(model, np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32))


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("seed", range(40))
def test_input_gradient_of_random_nets(seed, across, monkeypatch):
    model, x = random_net(seed)
    if all(getattr(layer, "groups", 1) == 1 for layer in model):
        monkeypatch.setattr(lowering.choice, "ACROSS", across)
    check(model.build(x.shape[1:]), x, seed)


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("seed", range(30))
def test_input_gradient_of_random_convolutions(seed, across, monkeypatch):
    case = random_case(seed)
    monkeypatch.setattr(lowering.choice, "ACROSS", across if case.groups == 1 else "samples")
    layer = mc.Conv2d(case.C, case.K, case.kernel, case.stride, case.padding, case.dilation,
                      case.groups, case.bias)  # fmt: skip
    shape = (case.C, *case.image)
    x = np.random.default_rng(seed).normal(size=((1, 7, 17)[seed % 3], *shape)).astype(np.float32)
    check(mc.Sequential(layer, seed=seed).build(shape), x, seed)


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("place", range(3))
def test_frozen_batchnorm_has_constants_for_statistics(place, across, monkeypatch):
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    layers = [mc.Conv2d(2, 18, 3, padding=1), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 4)]
    layers.insert(place, mc.BatchNorm2d(2 if place == 0 else 18))
    model = mc.Sequential(*layers, seed=2).build((2, 6, 6))
    g = np.random.default_rng(place)
    model[place].running_mean[...] = g.normal(size=model[place].num_features)
    model[place].running_var[...] = g.uniform(0.3, 3, model[place].num_features)
    model[place].eval()
    before = {name: array.copy() for name, array in model.buffers().items()}
    for batch in (1, 5, 17):
        check(model, g.normal(size=(batch, 2, 6, 6)).astype(np.float32))
    for name, array in model.buffers().items():
        assert_same_bits(array, before[name])
