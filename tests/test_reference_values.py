"""The oracle against numbers worked out by hand: small integers, written out here."""

import math

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

GRID = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9
NAN = np.nan


def test_linear_small_integers():
    x, weight, bias = [[1, 2], [3, 4]], [[1, 0], [0, 1], [1, -1]], [10, 20, 30]
    assert_array_equal(reference.linear_forward(x, weight, bias), [[11, 22, 29], [13, 24, 29]])
    assert_array_equal(reference.linear_forward(x, weight), [[1, 2, -1], [3, 4, -1]])
    dx, dweight, dbias = reference.linear_backward(x, weight, [[1, 2, 3], [0, 1, 0]])
    assert_array_equal(dx, [[4, -1], [0, 1]])
    assert_array_equal(dweight, [[1, 2], [5, 8], [3, 6]])
    assert_array_equal(dbias, [1, 3, 3])


def test_conv2d_two_by_two_is_cross_correlation():
    weight = np.array([[[[1.0, 2.0], [0.0, -1.0]]]])  # not flipped: 1·1 + 2·2 - 5 = 0
    assert_array_equal(reference.conv2d_forward(GRID, weight, [5])[0, 0], [[5, 7], [11, 13]])
    dx, dweight, dbias = reference.conv2d_backward(GRID, weight, np.ones((1, 1, 2, 2)))
    assert_array_equal(dx[0, 0], [[1, 3, 2], [1, 2, 1], [0, -1, -1]])
    assert_array_equal(dweight[0, 0], [[12, 16], [24, 28]])
    assert_array_equal(dbias, [4])


def test_conv2d_stride_padding_dilation_by_hand():
    ones = np.ones((1, 1, 2, 2))
    strided = reference.conv2d_forward(GRID, ones, stride=(2, 2), padding=(1, 1))
    assert_array_equal(strided[0, 0], [[1, 5], [11, 28]])
    dilated = reference.conv2d_forward(GRID, ones, dilation=(2, 2))
    assert_array_equal(dilated[0, 0], [[1 + 3 + 7 + 9]])
    same = reference.conv2d_forward(GRID, ones, output_size=(3, 3))  # one more row below, right
    assert_array_equal(same[0, 0], [[12, 16, 9], [24, 28, 15], [15, 17, 9]])


def test_conv2d_groups_do_not_mix_channels():
    x = np.stack([GRID[0, 0], 10 * GRID[0, 0]])[None]
    weight = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    y = reference.conv2d_forward(x, weight, groups=2)
    assert_array_equal(y[0, :, 0, 0], [1, 2, 30, 40])
    dx, dweight, _ = reference.conv2d_backward(x, weight, np.ones_like(y), groups=2)
    assert_array_equal(dx[0, :, 0, 0], [3, 7])
    assert_array_equal(dweight.ravel(), [45, 45, 450, 450])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "floor", "ceil"),
    [(5, 2, 2, 0, 2, 3), (6, 3, 2, 1, 3, 4), (4, 2, 2, 1, 3, 3), (5, 1, 3, 0, 2, 2),
     (3, 2, 3, 1, 2, 2), (5, 2, 3, 1, 2, 2)],
)  # fmt: skip
def test_pool_output_size_floor_and_ceil(size, kernel, stride, padding, floor, ceil):
    assert reference.pool_output_size(size, kernel, stride, padding) == floor
    assert reference.pool_output_size(size, kernel, stride, padding, ceil_mode=True) == ceil


def test_max_pool2d_overlapping_windows_add_their_gradients():
    y, indices = reference.max_pool2d_forward(GRID, (2, 2), (1, 1))
    assert_array_equal(y[0, 0], [[5, 6], [8, 9]])
    assert_array_equal(indices[0, 0], [[4, 5], [7, 8]])
    peak = np.array([[[[0.0, 0, 0], [0, 7, 0], [0, 0, 0]]]])
    _, indices = reference.max_pool2d_forward(peak, (2, 2), (1, 1))
    dx = reference.max_pool2d_backward([[[[1, 2], [3, 4]]]], indices, (3, 3))
    assert_array_equal(dx[0, 0], [[0, 0, 0], [0, 10, 0], [0, 0, 0]])


def test_max_pool2d_ties_padding_and_nan():
    flat = np.full((1, 1, 2, 2), -3.0)
    y, indices = reference.max_pool2d_forward(flat, (2, 2), (2, 2), (1, 1))
    assert_array_equal(y, [[[[-3, -3], [-3, -3]]]])  # the padding, -inf, never wins
    assert_array_equal(indices[0, 0], [[0, 1], [2, 3]])
    assert reference.max_pool2d_forward(flat, (2, 2), (2, 2))[1].item() == 0
    row = np.array([[[[1.0, NAN, 9.0, NAN]]]])
    y, indices = reference.max_pool2d_forward(row, (1, 4), (1, 4))
    assert np.isnan(y).all() and indices.item() == 1
    y, indices = reference.max_pool2d_forward(np.full((1, 1, 1, 2), -np.inf), (1, 2), (1, 1))
    assert y.item() == -np.inf and indices.item() == 0


def test_avg_pool2d_divisor_with_and_without_padding():
    counted = reference.avg_pool2d_forward(GRID, (2, 2), (2, 2), (1, 1), True)
    assert_array_equal(counted[0, 0], [[1 / 4, 5 / 4], [11 / 4, 28 / 4]])
    inside = reference.avg_pool2d_forward(GRID, (2, 2), (2, 2), (1, 1), False)
    assert_array_equal(inside[0, 0], [[1, 5 / 2], [11 / 2, 7]])
    # Ceil mode: windows stick out by one; without padding there is nothing there to count.
    ceil = reference.avg_pool2d_forward(GRID, (2, 2), (2, 2), (0, 0), True, (2, 2))
    assert_array_equal(ceil[0, 0], [[3, 4.5], [7.5, 9]])
    dx = reference.avg_pool2d_backward(np.ones((1, 1, 2, 2)), (3, 3), (2, 2), (2, 2))
    assert_array_equal(dx[0, 0], [[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0.5, 0.5, 1]])


def test_global_avg_pool_by_hand():
    assert_array_equal(reference.global_avg_pool_forward(GRID), [[[[5]]]])
    dx = reference.global_avg_pool_backward([[[[18.0]]]], (3, 3))
    assert_array_equal(dx, np.full((1, 1, 3, 3), 2.0))


def test_relu_zero_negative_and_nan():
    x = [-2.0, -0.0, 0.0, 3.0, NAN, np.inf]
    assert_array_equal(reference.relu_forward(x), [0, 0, 0, 3, NAN, np.inf])
    assert_array_equal(reference.relu_backward(x, [1, 2, 3, 4, 5, 6]), [0, 0, 0, 4, 5, 6])
    assert_array_equal(reference.leaky_relu_forward([-2.0, 3.0, NAN], 0.5), [-1, 3, NAN])
    assert_array_equal(reference.leaky_relu_backward([-2.0, 0.0, 3.0], [4, 4, 4], 0.5), [2, 2, 4])


def test_smooth_activations_at_known_points():
    third = math.log(3.0)
    assert_allclose(reference.sigmoid_forward([0, third, -third]), [0.5, 0.75, 0.25], rtol=1e-15)
    assert_allclose(reference.sigmoid_backward([0, third], [4, 16]), [1, 3], rtol=1e-15)
    assert_allclose(reference.tanh_forward([0, math.log(2.0)]), [0, 0.6], rtol=1e-15)
    assert_allclose(reference.tanh_backward([0, math.log(2.0)], [1, 1]), [1, 0.64], rtol=1e-15)
    assert_allclose(reference.silu_forward([third, -third]), [0.75 * third, -0.25 * third])
    assert_allclose(reference.silu_backward([0], [2]), [1])
    # Φ(1) = 0.8413447460685429 and φ(1) = 0.24197072451914337, from tables.
    assert_allclose(reference.gelu_forward([0, 1, -1]), [0, 0.8413447460685429, -0.158655253931457])
    assert_allclose(reference.gelu_backward([0, 1], [1, 1]), [0.5, 1.0833154705876864], rtol=1e-14)
    assert_allclose(reference.gelu_tanh_forward([0, 1]), [0, 0.8411919906082768], rtol=1e-14)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"])
def test_activations_huge_inputs_reach_their_limits(name):
    x = np.array([-1e38, 1e38])
    with np.errstate(over="raise", invalid="raise"):
        y = getattr(reference, f"{name}_forward")(x)
        slope = getattr(reference, f"{name}_backward")(x, np.ones(2))
    limits = {"sigmoid": [0, 1], "tanh": [-1, 1]}.get(name, [0, 1e38])
    assert_array_equal(y, limits)
    assert_array_equal(slope, [0, 0] if name in ("sigmoid", "tanh") else [0, 1])


def test_batchnorm_train_biased_to_normalise_unbiased_to_remember():
    x = np.array([1.0, 3.0, 1.0, 3.0]).reshape(2, 1, 2)  # mean 2, variance 1, unbiased 4/3
    y, mean, inv_std, running_mean, running_var = reference.batchnorm_train_forward(
        x, [2.0], [10.0], [0.0], [1.0], 0.25, 3.0
    )
    assert_array_equal(y.ravel(), [9, 11, 9, 11])  # ±1 / √(1 + 3) · 2 + 10
    assert (mean.item(), inv_std.item(), running_mean.item()) == (2, 0.5, 0.5)
    assert_allclose(running_var, [0.75 + 0.25 * 4 / 3], rtol=1e-15)


def test_batchnorm_backward_by_hand():
    x = np.array([1.0, 3.0]).reshape(2, 1, 1)  # normalised to ∓1 with eps 0
    dx, dweight, dbias = reference.batchnorm_train_backward(x, [5.0], [[[1.0]], [[4.0]]], 0.0)
    assert (dweight.item(), dbias.item()) == (3, 5)
    assert_array_equal(dx.ravel(), [0, 0])  # two points: shift and scale take everything away
    frozen = reference.batchnorm_eval_backward(x, [5.0], [[[1.0]], [[4.0]]], [1.0], [4.0], 0.0)
    assert_array_equal(frozen[0].ravel(), [2.5, 10])
    assert (frozen[1].item(), frozen[2].item()) == (4, 5)
    y = reference.batchnorm_eval_forward(x, None, None, [1.0], [4.0], 0.0)
    assert_array_equal(y.ravel(), [0, 1])


def test_dropout_scales_what_it_keeps():
    x, mask = [[1.0, 2.0], [NAN, 4.0]], [[1, 0], [0, 1]]
    assert_array_equal(reference.dropout_apply(x, mask, 0.5), [[2, 0], [0, 8]])
    assert_array_equal(reference.dropout_apply(x, np.zeros((2, 2)), 1.0), np.zeros((2, 2)))
    assert_array_equal(reference.dropout_backward([3.0, 3.0], [1, 0], 0.25), [4, 0])


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox4x32_known_answers(counter, key, words):
    """The vectors published with Random123."""
    assert list(reference.philox4x32(counter, key)) == words
