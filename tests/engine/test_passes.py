"""The engine's passes against the float64 oracle and against the layers."""

import copy

import numpy as np
import pytest
import reference
from checks import THREADS, assert_close, assert_same_bits, sum_tolerance
from kernels.conv2d_cases import random_case

import minicnn as mc
from engine.nets import oracle_passes, random_net
from minicnn import lowering
from minicnn.engine.plan import item_count
from minicnn.lowering import Passes

# docs/numerics.md: a step of a small net is off by about 1e-6 of the largest value.
NET_TOLERANCE = 1e-5

OPTIMIZERS = {
    "sgd": lambda p: mc.SGD(p, 0.01, momentum=0.9),
    # A large eps: a bias before BatchNorm has only rounding errors for a gradient, and Adam
    # would blow them up to the size of any other.
    "adam": lambda p: mc.Adam(p, 1e-3, eps=1e-3),
}


def engine_passes(model, x):
    x = model.prepare(x)
    passes = model.pass_cache.find([*model.leaves().values()], model.flat_parameters, x)
    assert isinstance(passes, Passes), "the engine should cover this model"
    return passes


def run(model, x, dy, threads=1):
    """(y, gradients by name) of a copy of the model, through the engine."""
    mc.set_num_threads(threads)
    model = copy.deepcopy(model).build(x.shape[1:])
    model.flat_gradients[...] = np.nan
    passes = engine_passes(model, x)
    y = passes.forward(x)
    passes.backward(dy)
    return y, {name: p.grad.copy() for name, p in model.named_parameters().items()}


def gradient_for(model, x, seed=0):
    shape = (len(x), *model.build(x.shape[1:]).output_shape(x.shape[1:]))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("seed", range(120))
def test_random_net_agrees_with_the_oracle_and_between_threads(seed, across, monkeypatch):
    model, x = random_net(seed)
    if across == "channels" and any(getattr(layer, "groups", 1) > 1 for layer in model):
        across = "samples"  # groups cross the lanes of channels
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    dy = gradient_for(model, x, seed)
    y, gradients = run(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    assert_close(y, expected_y, NET_TOLERANCE, np.abs(expected_y).max())
    scale = max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        assert_close(gradients[name], value, NET_TOLERANCE, scale, may_be_zero=True)
    for threads in THREADS[1:]:
        again_y, again = run(model, x, dy, threads)
        assert_same_bits(again_y, y)
        for name in gradients:
            assert_same_bits(again[name], gradients[name])


@pytest.mark.parametrize("batch", (4, 19))
@pytest.mark.parametrize(
    "consumer",
    [
        lambda: mc.Conv2d(6, 5, 3, padding=2), lambda: mc.Conv2d(6, 6, 3, 2, groups=2),
        lambda: mc.MaxPool2d(2), lambda: mc.MaxPool2d(3, 2, 1), lambda: mc.AvgPool2d(2),
        lambda: mc.AvgPool2d(3, 2, 1), mc.GlobalAvgPool2d, lambda: mc.BatchNorm2d(6), mc.Flatten,
        lambda: mc.Dropout(0.3), lambda: mc.Dropout2d(0.3), lambda: mc.LeakyReLU(0.2), mc.ReLU,
        lambda: mc.Sequential(mc.Flatten(), mc.BatchNorm1d(384)), mc.Identity,
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", ("conv", "batchnorm"))
@pytest.mark.parametrize("across", ("samples", "channels"))
def test_derivative_of_a_fused_relu_is_right_whatever_follows(
    first, consumer, batch, across, monkeypatch
):
    if getattr(consumer(), "groups", 1) == 1:
        monkeypatch.setattr(lowering.choice, "ACROSS", across)
    middle = [mc.BatchNorm2d(6)] if first == "batchnorm" else []
    layers = [mc.Conv2d(2, 6, 3, padding=1), *middle, mc.ReLU(), consumer(), mc.Linear(None, 7)]
    model = mc.Sequential(*layers, seed=4)
    x = np.random.default_rng(batch).normal(size=(batch, 2, 8, 8)).astype(np.float32)
    dy = gradient_for(model, x)
    y, gradients = run(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    assert_close(y, expected_y, NET_TOLERANCE, np.abs(expected_y).max())
    # What stands before a BatchNorm may have a gradient of 0, and rounding errors of the others'.
    scale = max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        assert_close(gradients[name], value, NET_TOLERANCE, scale, may_be_zero=True)


def test_linear_behind_a_map_of_one_pixel_sees_all_channels(monkeypatch):
    """The gradient of that pixel has a border, which no row of features has."""
    monkeypatch.setattr(lowering.choice, "ACROSS", "channels")
    model = mc.Sequential(mc.Conv2d(2, 3, 2), mc.Conv2d(3, 40, 3), mc.Linear(None, 5), seed=1)
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    dy = gradient_for(model, x)
    _, gradients = run(model, x, dy)
    _, expected = oracle_passes(model, x, dy)
    for name, value in expected.items():
        assert_close(gradients[name], value, NET_TOLERANCE, np.abs(value).max())


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("seed", range(60))
def test_convolution_agrees_with_the_oracle_to_the_rounding_of_its_sums(seed, across, monkeypatch):
    case = random_case(seed)
    monkeypatch.setattr(lowering.choice, "ACROSS", across if case.groups == 1 else "samples")
    rng = np.random.default_rng(seed)
    layer = mc.Conv2d(case.C, case.K, case.kernel, case.stride, case.padding, case.dilation,
                      case.groups, case.bias)  # fmt: skip
    model = mc.Sequential(layer, seed=seed)
    batch = (1, 7, 16, 17, 33)[seed % 5]
    x = rng.normal(size=(batch, case.C, *case.image)).astype(np.float32)
    dy = gradient_for(model, x, seed)
    y, gradients = run(model, x, dy)
    expected_y, expected = oracle_passes(model, x, dy)
    size, positive = copy.deepcopy(model), np.abs
    size.flat_parameters[...] = positive(size.flat_parameters)
    y_scale, scales = oracle_passes(size, positive(x), positive(dy))
    terms = case.C // case.groups * case.kernel[0] * case.kernel[1]
    assert_close(y, expected_y, sum_tolerance(terms), y_scale)
    pixels = dy.size // case.K
    for name, value in expected.items():
        assert_close(gradients[name], value, sum_tolerance(pixels), scales[name], may_be_zero=True)


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("seed", range(60))
def test_input_gradient_of_a_convolution_agrees_pixel_by_pixel(seed, across, monkeypatch):
    """A 1×1 convolution in front, fed with one-hot pixels, has dx as its weight gradient."""
    case = random_case(seed)
    monkeypatch.setattr(lowering.choice, "ACROSS", across if case.groups == 1 else "samples")
    area, batch = case.image[0] * case.image[1], (1, 5, 17)[seed % 3]
    feed = mc.Conv2d(area, case.C, 1, bias=False)
    layer = mc.Conv2d(case.C, case.K, case.kernel, case.stride, case.padding, case.dilation,
                      case.groups, False)  # fmt: skip
    model = mc.Sequential(feed, layer, seed=seed)
    x = np.zeros((batch, area, *case.image), np.float32)
    x[-1] = np.eye(area, dtype=np.float32).reshape(area, *case.image)
    dy = gradient_for(model, x, seed)
    pixels = feed.weight.data.reshape(1, case.C, *case.image)
    _, gradients = run(model, x, dy)
    options = case.options()
    expected = reference.conv2d_backward(pixels, layer.weight.data, dy[-1:], **options)[0]
    scale = reference.conv2d_backward(
        pixels, np.abs(layer.weight.data), np.abs(dy[-1:]), **options
    )[0]
    terms = case.K // case.groups * case.kernel[0] * case.kernel[1]
    found = gradients["0.weight"].reshape(1, case.C, *case.image)
    assert_close(found, expected, sum_tolerance(terms), scale, may_be_zero=True)


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("batch", (1, 7, 8, 15, 16, 17, 33, 64, 130))
@pytest.mark.parametrize(("inputs", "outputs"), ((1, 1), (5, 3), (70, 33), (129, 50)))
def test_linear_agrees_with_the_oracle_to_the_rounding_of_its_sums(
    batch, inputs, outputs, across, monkeypatch
):
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    model = mc.Sequential(mc.Linear(inputs, outputs), seed=1)
    x = np.random.default_rng(batch).normal(size=(batch, inputs)).astype(np.float32)
    dy = gradient_for(model, x)
    y, gradients = run(model, x, dy, threads=2)
    expected_y, expected = oracle_passes(model, x, dy)
    size = copy.deepcopy(model)
    size.flat_parameters[...] = np.abs(size.flat_parameters)
    y_scale, scales = oracle_passes(size, np.abs(x), np.abs(dy))
    assert_close(y, expected_y, sum_tolerance(inputs), y_scale)
    for name, value in expected.items():
        assert_close(gradients[name], value, sum_tolerance(batch), scales[name])


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("size", (1, 3, 4, 6, 63))
@pytest.mark.parametrize("layer", (mc.Dropout, mc.Dropout2d))
def test_dropout_makes_the_same_choices_as_the_layer(layer, size, across, monkeypatch):
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    x = np.random.default_rng(size).normal(size=(19, size, 3, 3)).astype(np.float32)
    model = mc.Sequential(layer(0.3), seed=2**63 + 5)
    model.build(x.shape[1:])
    model[0].step = 2**33 + 1
    twin = copy.deepcopy(model)
    assert_same_bits(engine_passes(model, x).forward(x), twin.forward(x))
    assert model[0].step == twin[0].step


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("seed", range(12))
def test_ten_steps_end_with_the_weights_of_the_layers(seed, optimizer):
    model, x = random_net(seed)
    y = np.random.default_rng(seed).integers(0, model.build(x.shape[1:])[-1].out_features, len(x))
    ends = []
    for engine in (False, True):
        mc.set_engine(engine)
        twin = copy.deepcopy(model)
        steps = OPTIMIZERS[optimizer](twin.parameters())
        losses = [twin.train_step(x, y, mc.CrossEntropyLoss(), steps) for _ in range(10)]
        ends.append((losses, twin.state_dict(), twin.logits(x)))
    (losses, state, logits), (other_losses, other_state, other_logits) = ends
    tolerance = 10 * NET_TOLERANCE  # ten times the error of a step
    np.testing.assert_allclose(other_losses, losses, rtol=tolerance)
    for name, value in state.items():
        assert_close(other_state[name], value, tolerance, np.abs(value).max() + 0.1,
                     may_be_zero=True)  # fmt: skip
    assert_close(other_logits, logits, tolerance, np.abs(logits).max())


# --- the items that slots fall into -------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "samples", "together", "expected"),
    [
        (1, 1, 1, 1), (5, 1, 1, 5), (16, 1, 1, 16), (17, 1, 1, 16), (1000, 1, 1, 16),
        (64, 1, 8, 8), (128, 1, 8, 16), (64, 1, 4, 16), (6, 1, 8, 6), (40, 8, 1, 40),
    ],
)  # fmt: skip
def test_items_of_slots(slots, samples, together, expected):
    """16 keep uneven cores busy to the end, unless a call that takes some slots would lose them."""
    assert item_count(slots, samples, together) == expected


def test_gradients_of_more_samples_than_items_agree_with_the_layers():
    rng = np.random.default_rng(5)
    model = mc.Sequential(
        mc.Conv2d(3, 16, 3), mc.ReLU(), mc.MaxPool2d(2), mc.Conv2d(16, 16, 3, stride=2),
        mc.ReLU(), mc.Flatten(), mc.Linear(16 * 3 * 3, 4), seed=3,
    ).build((3, 16, 16))  # fmt: skip
    for batch in (15, 16, 17, 37):
        x = rng.normal(size=(batch, 3, 16, 16)).astype(np.float32)
        dy = rng.normal(size=(batch, 4)).astype(np.float32)
        model(x)
        model.backward(dy)
        found = model.flat_gradients.copy()
        dx = dy
        model.forward_by_layers(x)
        for layer in reversed(model.layers):
            dx = layer.backward(dx)
        expected = model.flat_gradients
        assert_close(found, expected, NET_TOLERANCE, np.abs(expected).max())


# --- where private gradients lie ----------------------------------------------------------------


def deep_net(*between):
    """Three convolutions of 4608 weights or more, with these layers behind each."""
    layers = [mc.Conv2d(16, 32, 3), mc.Conv2d(32, 32, 3), mc.Conv2d(32, 24, 3)]
    net = [made for layer in layers for made in (layer, *(b() for b in between), mc.ReLU())]
    return mc.Sequential(*net, mc.Flatten(), mc.Linear(None, 3), seed=4).build((16, 14, 14))


def private_floats(model):
    lowered = lowering.lower.lower(list(model), (16, 14, 14), True, "channels")
    starts = [node.op.partial for node in lowered.nodes if node.kind == "conv"]
    return lowered.partial_floats, starts


def test_private_gradients_share_their_place_when_they_are_added_up_before_the_next_ones():
    together, starts = private_floats(deep_net())
    assert len(set(starts)) == 3
    one_by_one, starts = private_floats(deep_net(lambda: mc.BatchNorm2d(None)))
    assert set(starts) == {0} and together > 2 * one_by_one
