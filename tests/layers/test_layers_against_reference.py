"""Each layer alone, forward and backward, against the float64 oracle."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close, assert_same_bits, sum_tolerance

import minicnn as mc


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def both_ways(layer, x):
    """y, dy and dx of a layer by itself."""
    y = layer.forward(x)
    dy = array(*y.shape, seed=1)
    return y, dy, layer.backward(dy)


CONVOLUTIONS = [  # constructor's arguments, its geometry for the oracle
    ({"kernel_size": 3}, (1, 1, 0, 0, 1, 1, 1)),
    ({"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1)}, (2, 1, 0, 1, 1, 1, 1)),
    ({"kernel_size": 2, "dilation": (1, 3), "groups": 2}, (1, 1, 0, 0, 1, 3, 2)),
    ({"kernel_size": 3, "padding": "same"}, (1, 1, 1, 1, 1, 1, 1)),
    ({"kernel_size": 3, "padding": "valid", "bias": False}, (1, 1, 0, 0, 1, 1, 1)),
]


@pytest.mark.parametrize(("arguments", "geometry"), CONVOLUTIONS)
def test_conv2d_equals_the_oracle(arguments, geometry):
    layer, x = mc.Conv2d(4, 6, **arguments), array(2, 4, 7, 8)
    y, dy, dx = both_ways(layer, x)
    w, stride, pad, dilation, groups = (
        layer.weight.data, geometry[:2], geometry[2:4], geometry[4:6], geometry[6]
    )  # fmt: skip
    bias = layer.bias.data if layer.bias else None
    options = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    terms = w[0].size + 1
    scale = reference.conv2d_forward(abs(x), abs(w), None if bias is None else abs(bias), **options)
    expected = reference.conv2d_forward(x, w, bias, **options)
    assert_close(y, expected, sum_tolerance(terms), scale)
    grads = reference.conv2d_backward(x, w, dy, **options)
    scales = reference.conv2d_backward(abs(x), abs(w), abs(dy), **options)
    found = (dx, layer.weight.grad, layer.bias.grad if layer.bias else None)
    for got, right, size in zip(found, grads, scales, strict=True):
        if got is not None:
            assert_close(got, right, sum_tolerance(dy.size), size)


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 2, 2), (1, 12, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_the_oracle_and_keeps_the_inputs_shape(shape, bias):
    layer, x = mc.Linear(12, 4, bias), array(*shape)
    y, dy, dx = both_ways(layer, x)
    flat, w = x.reshape(len(x), -1), layer.weight.data
    b = layer.bias.data if bias else None
    scale = reference.linear_forward(abs(flat), abs(w), None if b is None else abs(b))
    assert_close(y, reference.linear_forward(flat, w, b), sum_tolerance(13), scale)
    assert dx.shape == x.shape
    found = (dx.reshape(flat.shape), layer.weight.grad, layer.bias.grad if bias else None)
    grads = reference.linear_backward(flat, w, dy)
    scales = reference.linear_backward(abs(flat), abs(w), abs(dy))
    for got, right, size in zip(found, grads, scales, strict=True):
        if got is not None:
            assert_close(got, right, sum_tolerance(12), size)


def test_linear_on_a_map_equals_flatten_and_linear(monkeypatch):
    x = array(3, 2, 4, 5)
    alone, chain = mc.Linear(40, 3), mc.Sequential(mc.Flatten(), mc.Linear(40, 3))
    monkeypatch.setattr(chain, "forward", chain.forward_by_layers)
    chain[1].weight.data[...] = alone.weight.data
    chain[1].bias.data[...] = alone.bias.data
    for got, expected in zip(both_ways(alone, x), both_ways(chain, x), strict=True):
        assert_same_bits(got, expected)
    assert_same_bits(alone.weight.grad, chain[1].weight.grad)


def test_relu_and_leaky_relu_on_hand_made_values():
    x = np.array([[-2, -0.0, 0, 3, np.inf, -np.inf]], np.float32)
    relu, leaky = mc.ReLU(), mc.LeakyReLU(0.5)
    assert relu.forward(x).tolist() == [[0, 0, 0, 3, np.inf, 0]]
    assert relu.backward(np.ones_like(x)).tolist() == [[0, 0, 0, 1, 1, 0]]
    assert leaky.forward(x).tolist() == [[-1, 0, 0, 3, np.inf, -np.inf]]
    assert leaky.backward(np.ones_like(x)).tolist() == [[0.5, 0.5, 0.5, 1, 1, 0.5]]


@pytest.mark.parametrize(
    ("layer", "name"),
    [(mc.Sigmoid(), "sigmoid"), (mc.Tanh(), "tanh"), (mc.SiLU(), "silu"), (mc.GELU(), "gelu"),
     (mc.GELU("tanh"), "gelu_tanh")], ids=repr,
)  # fmt: skip
def test_smooth_activations_equal_the_oracle(layer, name):
    x = array(3, 4, 5)
    y, dy, dx = both_ways(layer, x)
    assert_close(y, getattr(reference, f"{name}_forward")(x), 2 * UNIT_ROUNDOFF)
    expected = getattr(reference, f"{name}_backward")(x, dy)
    assert_close(dx, expected, 2 * UNIT_ROUNDOFF, 2 * abs(dy))


def test_global_average_is_the_mean_and_spreads_its_gradient():
    x = array(2, 3, 4, 5)
    y, dy, dx = both_ways(mc.GlobalAvgPool2d(), x)
    scale = abs(x).mean((2, 3), keepdims=True)
    assert_close(y, x.mean((2, 3), keepdims=True, dtype=np.float64), sum_tolerance(20), scale)
    assert_close(dx, np.broadcast_to(dy / 20.0, x.shape), 2 * UNIT_ROUNDOFF)


def test_average_pool_by_hand():
    x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    inside = mc.AvgPool2d(2, padding=1, count_include_pad=False)
    assert inside.forward(x).tolist() == [[[[1, 2.5], [5.5, 7]]]]
    assert mc.AvgPool2d(2, padding=1).forward(x).tolist() == [[[[0.25, 1.25], [2.75, 7]]]]
    dx = inside.backward(np.array([[[[4, 4], [4, 4]]]], np.float32))
    assert dx.tolist() == [[[[4, 2, 2], [2, 1, 1], [2, 1, 1]]]]
    assert mc.AvgPool2d(2, ceil_mode=True).forward(x).tolist() == [[[[3, 4.5], [7.5, 9]]]]


def test_max_pool_ties_go_to_the_first_and_stride_defaults_to_the_window():
    layer = mc.MaxPool2d((1, 2))
    assert layer.stride == (1, 2)
    assert layer.forward(np.array([[[[5, 5, -1, 2]]]], np.float32)).tolist() == [[[[5, 2]]]]
    assert layer.backward(np.array([[[[3, 4]]]], np.float32)).tolist() == [[[[3, 0, 0, 4]]]]


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 2)])
def test_batchnorm_equals_the_oracle_in_both_modes(shape):
    kind = mc.BatchNorm2d if len(shape) == 4 else mc.BatchNorm1d
    layer, x = kind(3, eps=1e-3, momentum=0.25), array(*shape) * 3 + 1
    layer.weight.data[...], layer.bias.data[...] = (0.5, 1, -2), (1, 0, -1)
    y, dy, dx = both_ways(layer, x)
    x3, dy3 = (np.moveaxis(a.astype(np.float64), 1, 0).reshape(3, -1) for a in (x, dy))
    mean, var, count = x3.mean(1), x3.var(1), x3.shape[1]
    normal = (x3 - mean[:, None]) / np.sqrt(var + 1e-3)[:, None]
    w, b = (p.data[:, None].astype(np.float64) for p in (layer.weight, layer.bias))

    def rows(a):
        return np.moveaxis(a, 1, 0).reshape(3, -1)

    few = 32 * UNIT_ROUNDOFF  # a handful of float32 roundings of terms of this size
    assert_close(rows(y), w * normal + b, few, abs(w * normal) + abs(b) + 1)
    assert_close(layer.bias.grad, dy3.sum(1), few, abs(dy3).sum(1))
    assert_close(layer.weight.grad, (dy3 * normal).sum(1), few, abs(dy3 * normal).sum(1))
    centred = dy3 - dy3.mean(1)[:, None] - normal * (dy3 * normal).mean(1)[:, None]
    assert_close(rows(dx), w / np.sqrt(var + 1e-3)[:, None] * centred, few, 8 * abs(w))
    assert_close(layer.running_mean, 0.25 * mean, few, abs(mean) + 1)
    unbiased = var * count / (count - 1)
    assert_close(layer.running_var, 0.75 + 0.25 * unbiased, few)
    assert layer.num_batches_tracked == 1

    before = {name: a.tobytes() for name, a in layer.buffers().items()}
    y, dy, dx = both_ways(layer.eval(), x)
    spread = np.sqrt(layer.running_var.astype(np.float64) + 1e-3)[:, None]
    normal = (x3 - layer.running_mean.astype(np.float64)[:, None]) / spread
    assert_close(rows(y), w * normal + b, few, abs(w * normal) + abs(b) + 1)
    assert_close(rows(dx), w / spread * rows(dy), few)
    assert {name: a.tobytes() for name, a in layer.buffers().items()} == before


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (mc.BatchNorm1d(3), (1, 3)),
        (mc.BatchNorm1d(3), (1, 3, 1)),
        (mc.BatchNorm2d(3), (1, 3, 1, 1)),
    ],
    ids=str,
)
def test_batchnorm_of_one_value_a_channel_is_an_error_in_training_only(layer, shape):
    with pytest.raises(mc.ShapeError, match=r"one value per channel.*larger batch, or eval\(\)"):
        layer.forward(array(*shape))
    assert layer.num_batches_tracked == 0 and layer.running_var.tolist() == [1, 1, 1]
    assert layer.eval().forward(array(*shape)).shape == shape


def test_dropout_is_undone_alike_on_the_way_back():
    for layer, x in ((mc.Dropout(0.4), array(50, 40)), (mc.Dropout2d(0.4), array(30, 20, 2, 3))):
        y, dy, dx = both_ways(layer, x)
        kept = y != 0
        assert 0.5 < kept.mean() < 0.7
        assert_close(y[kept], x[kept] / np.float64(0.6), 2 * UNIT_ROUNDOFF)
        assert_close(dx, dy * kept / np.float64(0.6), 2 * UNIT_ROUNDOFF)
        if isinstance(layer, mc.Dropout2d):
            assert np.all(kept.all((2, 3)) | ~kept.any((2, 3)))


@pytest.mark.parametrize("kind", [mc.Dropout, mc.Dropout2d])
def test_dropout_of_nothing_and_of_everything(kind):
    x = array(2, 3, 4, 4)
    assert_same_bits(kind(0.0).forward(x), x)
    y, _, dx = both_ways(kind(1.0), x)
    assert not y.any() and not dx.any()


def test_dropout_depends_on_seed_place_and_step():
    x = np.ones((1, 200), np.float32)
    masks = {}
    for seed, stream, step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        layer = mc.Dropout(0.5)
        layer.reset_parameters(seed, stream)
        layer.step = step
        masks[seed, stream, step] = layer.forward(x).tobytes()
        layer.step = step
        assert layer.forward(x).tobytes() == masks[seed, stream, step]
    assert len(set(masks.values())) == 4


def test_flatten_and_identity_move_nothing():
    x = array(2, 3, 4, 5)
    y, dy, dx = both_ways(mc.Flatten(), x)
    assert_same_bits(y, x.reshape(2, 60))
    assert_same_bits(dx, dy.reshape(x.shape))
    y, dy, dx = both_ways(mc.Identity(), x)
    assert_same_bits(y, x)
    assert_same_bits(dx, dy)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding", "floor", "ceil"),
    [
        (4, 2, 2, 0, 2, 2),
        (3, 2, 2, 0, 1, 2),
        (3, 2, 2, 1, 2, 2),  # a third window would start at 3, in the padding at the end
        (5, 2, 3, 1, 2, 2),  # likewise at 5
        (4, 3, 2, 1, 2, 3),  # at 3, the last value
        (5, 1, 3, 0, 2, 2),  # at 6, beyond everything
    ],
)
def test_ceil_mode_adds_a_window_only_where_it_starts_inside(
    length, kernel, stride, padding, floor, ceil
):
    for kind in (mc.MaxPool2d, mc.AvgPool2d):
        for ceil_mode, windows in ((False, floor), (True, ceil)):
            layer = kind(kernel, stride, padding, ceil_mode)
            assert layer.output_shape((2, length, length)) == (2, windows, windows)
            assert layer.forward(array(1, 2, length, length)).shape == (1, 2, windows, windows)
