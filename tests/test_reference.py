"""Every backward of the oracle against fourth-order differences of its forward.

    f'(t) = (f(t - 2h) - 8 f(t - h) + 8 f(t + h) - f(t + 2h)) / 12h + O(h⁴)

With h = 1e-3 and values around 1, the truncation is near 1e-12 and the rounding near 1e-13;
1e-8 leaves room for the steep places (1/σ in BatchNorm) and is far below any wrong term.
"""

import numpy as np
import pytest
import reference

STEP, TOLERANCE = 1e-3, 1e-8


def differences(function, arrays, dy):
    """Gradients of Σ dy · function(*arrays) for each of the arrays, by differences."""
    gradients = []
    for number, array in enumerate(arrays):
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            slope = 0.0
            for steps, factor in ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)):
                moved = array.copy()
                moved[index] += steps * STEP
                trial = [*arrays[:number], moved, *arrays[number + 1 :]]
                slope += factor * np.sum(dy * function(*trial))
            gradient[index] = slope / (12 * STEP)
        gradients.append(gradient)
    return gradients


def check(forward, backward, arrays, rng):
    """Compares backward(*arrays, dy) with the differences of forward(*arrays), all of them."""
    y = forward(*arrays)
    dy = rng.standard_normal(np.shape(y))
    expected = differences(forward, arrays, dy)
    actual = backward(*arrays, dy)
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert np.abs(want).max() > 100 * TOLERANCE
        np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture
def rng():
    return np.random.default_rng(2026)


def test_linear_backward_equals_differences(rng):
    arrays = [rng.standard_normal(shape) for shape in ((4, 3), (5, 3), (5,))]
    check(
        reference.linear_forward,
        lambda x, weight, bias, dy: reference.linear_backward(x, weight, dy),
        arrays,
        rng,
    )


@pytest.mark.parametrize(
    ("image", "kernel", "geometry"),
    [
        ((5, 5), (3, 3), {}),
        ((5, 6), (3, 2), {"stride": (2, 1), "padding": (1, 0)}),
        ((6, 5), (2, 3), {"dilation": (2, 2), "padding": (2, 1)}),
        ((7, 4), (1, 1), {"stride": (3, 2)}),
        ((4, 4), (4, 4), {"padding": (1, 1), "groups": 2}),
        ((5, 5), (2, 2), {"padding": (0, 1), "output_size": (5, 5), "groups": 4}),
    ],
)
def test_conv2d_backward_equals_differences(rng, image, kernel, geometry):
    groups = geometry.get("groups", 1)
    shapes = ((2, 4, *image), (4, 4 // groups, *kernel), (4,))
    arrays = [rng.standard_normal(shape) for shape in shapes]
    same = {name: value for name, value in geometry.items() if name != "output_size"}
    check(
        lambda x, weight, bias: reference.conv2d_forward(x, weight, bias, **geometry),
        lambda x, weight, bias, dy: reference.conv2d_backward(x, weight, dy, **same),
        arrays,
        rng,
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        ((2, 2), (2, 2), (0, 0), None),
        ((3, 2), (1, 1), (1, 1), None),
        ((3, 3), (2, 2), (1, 1), (4, 3)),
        ((2, 1), (3, 2), (0, 0), None),
    ],
)
def test_pool_backward_equals_differences(rng, kernel, stride, padding, size):
    # A permutation: no two values nearer than 0.1, so no step changes a winner.
    x = rng.permutation(2 * 2 * 6 * 5).reshape(2, 2, 6, 5) / 10.0
    window = (kernel, stride, padding)

    def max_backward(x, dy):
        indices = reference.max_pool2d_forward(x, *window, size)[1]
        return [reference.max_pool2d_backward(dy, indices, x.shape[2:])]

    check(lambda x: reference.max_pool2d_forward(x, *window, size)[0], max_backward, [x], rng)
    for include in (True, False):
        check(
            lambda x, include=include: reference.avg_pool2d_forward(x, *window, include, size),
            lambda x, dy, include=include: [
                reference.avg_pool2d_backward(dy, x.shape[2:], *window, include)
            ],
            [x],
            rng,
        )


def test_global_avg_pool_backward_equals_differences(rng):
    check(
        reference.global_avg_pool_forward,
        lambda x, dy: [reference.global_avg_pool_backward(dy, x.shape[2:])],
        [rng.standard_normal((2, 3, 4, 5))],
        rng,
    )


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"])
def test_activation_backward_equals_differences(rng, name):
    x = np.linspace(-6.05, 6.05, 98)  # never within two steps of the kink of ReLU
    check(
        getattr(reference, f"{name}_forward"),
        lambda x, dy: [getattr(reference, f"{name}_backward")(x, dy)],
        [x],
        rng,
    )


def test_leaky_relu_backward_equals_differences(rng):
    check(
        lambda x: reference.leaky_relu_forward(x, 0.2),
        lambda x, dy: [reference.leaky_relu_backward(x, dy, 0.2)],
        [np.linspace(-2.05, 2.05, 42)],
        rng,
    )


@pytest.mark.parametrize("shape", [(4, 3, 5), (6, 2, 1)])
def test_batchnorm_backward_equals_differences(rng, shape):
    arrays = [
        rng.standard_normal(shape),
        rng.uniform(0.5, 2, shape[1]),
        rng.standard_normal(shape[1]),
    ]
    mean, var, eps = rng.standard_normal(shape[1]), rng.uniform(0.5, 2, shape[1]), 1e-3
    check(
        lambda x, weight, bias: reference.batchnorm_train_forward(
            x, weight, bias, None, None, 0.1, eps
        )[0],
        lambda x, weight, bias, dy: reference.batchnorm_train_backward(x, weight, dy, eps),
        arrays,
        rng,
    )
    check(
        lambda x, weight, bias: reference.batchnorm_eval_forward(x, weight, bias, mean, var, eps),
        lambda x, weight, bias, dy: reference.batchnorm_eval_backward(
            x, weight, dy, mean, var, eps
        ),
        arrays,
        rng,
    )


def test_dropout_backward_equals_differences(rng):
    mask = rng.random((3, 7)) < 0.6
    check(
        lambda x: reference.dropout_apply(x, mask, 0.4),
        lambda x, dy: [reference.dropout_backward(dy, mask, 0.4)],
        [rng.standard_normal((3, 7))],
        rng,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_backward_equals_differences(rng, smoothing, weighted):
    labels = np.array([0, 3, -100, 1, 3])
    options = (labels, np.array([0.5, 2.0, 0.0, 1.5]) if weighted else None, -100, smoothing)
    check(
        lambda z: reference.cross_entropy_forward(z, *options)[0],
        lambda z, dy: [dy * reference.cross_entropy_backward(z, *options)],
        [rng.standard_normal((5, 4))],
        rng,
    )
