"""In prediction a BatchNorm goes into the weights of the convolution before it."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close, assert_same_bits, sum_tolerance

import minicnn as mc
from engine.nets import conv2d
from minicnn.engine import LANES

CONVOLUTIONS = {
    "few channels": ((3, 11, 9), lambda: mc.Conv2d(3, 21, 3, stride=2)),
    "padded": ((2, 8, 8), lambda: mc.Conv2d(2, 5, 5, padding=2)),
    "many channels": ((20, 7, 7), lambda: mc.Conv2d(20, 35, 3, stride=2)),
    "one pixel": ((LANES, 5, 5), lambda: mc.Conv2d(LANES, 40, 1)),
    "winograd": ((18, 16, 14), lambda: mc.Conv2d(18, 37, 3, padding=1)),
    "at stride 2": ((18, 15, 14), lambda: mc.Conv2d(18, 37, 3, stride=2, padding=1)),
    "no bias": ((16, 12, 12), lambda: mc.Conv2d(16, 16, 3, bias=False)),
    "groups": ((4, 9, 9), lambda: mc.Conv2d(4, 6, 3, groups=2)),
}


def net(name, *more, seed=0):
    shape, make = CONVOLUTIONS[name]
    convolution = make()
    norm = mc.BatchNorm2d(convolution.out_channels)
    model = mc.Sequential(convolution, norm, *more, seed=seed).build(shape)
    g = np.random.default_rng(seed)
    channels = norm.num_features
    norm.running_mean[...] = g.normal(size=channels)
    norm.running_var[...] = g.uniform(0.1, 3, channels)
    norm.weight.data[...] = g.normal(size=channels)
    norm.bias.data[...] = g.normal(size=channels)
    return model, g.normal(size=(5, *shape)).astype(np.float32)


def oracle(model, x):
    """(y, what its errors are relative to) of a convolution and a BatchNorm, in float64."""
    convolution, norm = model[0], model[1]
    column = (slice(None), None, None)
    scale = norm.weight.data / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    y = (conv2d(convolution, x)[0] - norm.running_mean[column]) * scale[column]
    weight, bias = np.abs(convolution.weight.data), convolution.bias
    sh, sw, top, left, dh, dw, groups = convolution.geometry()
    size = reference.conv2d_forward(
        np.abs(x), weight, None if bias is None else np.abs(bias.data), stride=(sh, sw),
        padding=(top, left), dilation=(dh, dw), groups=groups, output_size=y.shape[2:],
    ) + np.abs(norm.running_mean[column])  # fmt: skip
    size = size * np.abs(scale[column]) + np.abs(norm.bias.data[column])
    return y + norm.bias.data[column], size


def tolerance(model):
    """The sum's own, and the roundings of scale, weight and shift; Winograd's see numerics.md."""
    terms = model[0].weight.data[0].size
    return 4 * (sum_tolerance(terms) + 4 * UNIT_ROUNDOFF)


@pytest.mark.parametrize("threads", (1, 2, 3))
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_normalised_convolution_agrees_with_the_oracle(name, threads):
    mc.set_num_threads(threads)
    model, x = net(name)
    expected, size = oracle(model, x)
    assert_close(model.logits(x), expected, tolerance(model), size)


# That at stride 2 makes its sums another way where it does the pooling as well.
@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if name != "at stride 2"])
def test_relu_and_pool_behind_it_come_after_the_normalisation(name):
    plain, x = net(name)
    y = plain.logits(x)
    for more in ((mc.ReLU(),), (mc.ReLU(), mc.MaxPool2d(2)), (mc.MaxPool2d(2), mc.ReLU())):
        model, _ = net(name, *more)
        expected = np.maximum(y, 0)
        if len(more) == 2:
            size = model.output_shape(x.shape[1:])[1:]
            expected, _ = reference.max_pool2d_forward(expected, (2, 2), (2, 2), (0, 0), size)
        np.testing.assert_array_equal(model.logits(x), expected.astype(np.float32))


def test_only_the_first_batchnorm_goes_into_the_weights_and_none_behind_a_relu():
    layers = [mc.Conv2d(2, 6, 3), mc.ReLU(), mc.BatchNorm2d(6), mc.Conv2d(6, 6, 3),
              mc.BatchNorm2d(6), mc.BatchNorm2d(6), mc.ReLU()]  # fmt: skip
    model = mc.Sequential(*layers, seed=1).build((2, 9, 9))
    g = np.random.default_rng(0)
    for layer in (layers[2], *layers[4:6]):
        layer.running_mean[...] = g.normal(size=6)
        layer.running_var[...] = g.uniform(0.2, 2, 6)
        layer.bias.data[...] = g.normal(size=6)
    x = g.normal(size=(3, 2, 9, 9)).astype(np.float32)
    found = model.logits(x)
    mc.set_engine(False)
    np.testing.assert_allclose(found, model.logits(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ("few channels", "winograd"))
@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.running_var.fill(0),
        lambda norm: norm.running_var.fill(1e30),
        lambda norm: norm.running_mean.fill(1e6),
        lambda norm: norm.weight.data.fill(0),
        lambda norm: norm.weight.data.fill(-1e10),
        lambda norm: norm.bias.data.fill(1e10),
        lambda norm: setattr(norm, "eps", 1e-12),
        lambda norm: setattr(norm, "eps", 100.0),
    ],
)
def test_extreme_statistics_agree_with_the_oracle_and_changes_are_noticed(name, change):
    model, x = net(name)
    model.logits(x)
    change(model[1])
    expected, size = oracle(model, x)
    assert_close(model.logits(x), expected, tolerance(model), size)


@pytest.mark.parametrize("name", ("few channels", "winograd"))
@pytest.mark.parametrize("which", ("running_mean", "running_var", "weight", "bias"))
def test_one_channel_that_is_not_a_number_stays_alone(name, which):
    model, x = net(name)
    model.logits(x)
    array = getattr(model[1], which)
    (array.data if which in ("weight", "bias") else array)[2] = np.nan
    y = model.logits(x)
    assert np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, axis=1)).all()


def test_every_single_change_is_noticed():
    """Of each kind of number that went into the weights, one at a time, by the smallest step."""
    model, x = net("padded")
    norm, convolution = model[1], model[0]
    arrays = (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data,
              convolution.weight.data.reshape(-1), convolution.bias.data)  # fmt: skip
    model.logits(x)
    for array in arrays:
        for i in range(0, array.size, 7):
            array[i] *= 1.01
            expected, size = oracle(model, x)
            assert_close(model.logits(x), expected, tolerance(model), size)


def test_training_after_answers_moves_them():
    model, x = net("winograd", mc.ReLU(), mc.Linear(None, 4))
    optimizer, loss = mc.SGD(model.parameters(), 0.01), mc.CrossEntropyLoss()
    for _ in range(3):
        found = model.logits(x)
        mc.set_engine(False)
        expected = model.logits(x)
        mc.set_engine(True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        model.train_step(x, np.arange(5) % 4, loss, optimizer)
    state = model.state_dict()
    model.load_state_dict({name: np.zeros_like(value) for name, value in state.items()})
    assert not model.logits(x).any()
    model.load_state_dict(state)
    assert_same_bits(model.logits(x), model.logits(x.copy()))
