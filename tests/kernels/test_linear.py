"""Linear kernels against the oracle."""

import numpy as np
import pytest
import reference
from checks import assert_close, sum_tolerance

from kernels.harness import Out, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels.linear import linear_backward_input, linear_backward_weight, linear_forward

# Every tail of a block of 8 or 16, both sides of the blocks of 64 rows and 512 terms.
SIZES = {
    "one": [(1, 1, 1)],
    "tails": [(n, n % 5 + 1, n % 7 + 1) for n in range(1, 18)]
    + [(3, n, 5) for n in range(1, 18)]
    + [(3, 5, n) for n in range(1, 18)],
    "blocks": [(63, 9, 8), (64, 8, 16), (65, 7, 17), (129, 3, 3), (2, 511, 5), (2, 512, 5)]
    + [(2, 513, 5), (3, 1025, 9), (5, 9, 513), (513, 9, 3), (16, 784, 10)],
    "random": [tuple(np.random.default_rng(seed).integers(1, 40, 3)) for seed in range(60)],
}


def check(size, bias=True):
    """Forward and both gradients for (N, I, O)."""
    N, I, O = map(int, size)  # noqa: E741, the names of the layer's documentation
    rng = np.random.default_rng([N, I, O])
    x, weight, dy = normal(rng, N, I), normal(rng, O, I), normal(rng, N, O)
    b = normal(rng, O) if bias else None
    absolute = [np.abs(array) for array in (x, weight, dy)]
    y = run(linear_forward, x, weight, b, Out((N, O)))
    scale = reference.linear_forward(*absolute[:2], None if b is None else np.abs(b))
    assert_close(y, reference.linear_forward(x, weight, b), sum_tolerance(I + 1), scale)

    dx = run(linear_backward_input, dy, weight, Out((N, I)))
    if bias:
        dweight, dbias = run(linear_backward_weight, x, dy, Out((O, I)), Out((O,)))
    else:
        dweight, dbias = run(linear_backward_weight, x, dy, Out((O, I)), None), None
    gradients = reference.linear_backward(x, weight, dy)
    scales = reference.linear_backward(*absolute)
    for got, want, scale, length in zip(
        (dx, dweight, dbias), gradients, scales, (O, N, N), strict=True
    ):
        if got is not None:
            assert_close(got, want, sum_tolerance(length), scale)


@pytest.mark.parametrize("group", SIZES)
def test_linear_equals_oracle(group):
    for number, size in enumerate(SIZES[group]):
        check(size, bias=number % 3 != 1)


def test_linear_empty_batch_gives_zero_gradients():
    weight = np.ones((2, 3), np.float32)
    assert run(linear_forward, np.empty((0, 3), np.float32), weight, None, Out((0, 2))).size == 0
    empty = np.empty((0, 3), np.float32), np.empty((0, 2), np.float32)
    dweight, dbias = run(linear_backward_weight, *empty, Out((2, 3)), Out((2,)))
    assert not dweight.any() and not dbias.any()


def test_linear_nan_and_infinity_stay_in_their_row():
    rng = np.random.default_rng(3)
    x, weight = normal(rng, 9, 21), normal(rng, 11, 21)
    x[4, 20], x[6, 0] = np.nan, np.inf
    y = run(linear_forward, x, weight, None, Out((9, 11)))
    scale = np.abs(np.nan_to_num(x, posinf=0)) @ np.abs(weight).T
    assert_close(y, reference.linear_forward(x, weight), sum_tolerance(21), scale)


def test_linear_shapes_that_disagree_are_refused():
    x, weight, bias = (np.ones(shape, np.float32) for shape in ((2, 3), (4, 3), (4,)))
    dy = np.ones((2, 4), np.float32)
    for shape in ((2, 3), (3, 4), (2, 5), (0, 4)):
        refuse(linear_forward, x, weight, bias, Out(shape), match="y has shape")
        wrong = np.ones(shape, np.float32)
        refuse(linear_backward_weight, x, wrong, Out((4, 3)), Out((4,)), match="shape")
    refuse(linear_forward, x, weight[:, :2].copy(), bias, Out((2, 4)), match="weight has shape")
    refuse(linear_forward, x, weight, bias[:3].copy(), Out((2, 4)), match="bias has shape")
    refuse(linear_backward_input, dy, weight, Out((2, 4)), match="dx has shape")
    refuse(linear_backward_input, dy[:, :3].copy(), weight, Out((2, 3)), match="dy has shape")
    refuse(linear_backward_weight, x, dy, Out((3, 4)), Out((4,)), match="dweight has shape")
    refuse(linear_backward_weight, x, dy, Out((4, 3)), Out((3,)), match="dbias has shape")
    nothing = np.ones((2, 0), np.float32)
    refuse(linear_forward, nothing, np.ones((4, 0), np.float32), bias, Out((2, 4)), match="size 0")


@pytest.mark.parametrize("kernel", [linear_forward, linear_backward_input, linear_backward_weight])
def test_linear_wrong_arrays_and_threads_are_refused(kernel):
    x, weight, dy = (np.ones(shape, np.float32) for shape in ((2, 3), (4, 3), (2, 4)))
    arguments = {
        linear_forward: (x, weight, np.ones(4, np.float32), Out((2, 4))),
        linear_backward_input: (dy, weight, Out((2, 3))),
        linear_backward_weight: (x, dy, Out((4, 3)), Out((4,))),
    }[kernel]
    refuse_wrong_arrays(kernel, *arguments)
    refuse_threads(kernel, *arguments)
    refuse(kernel, None, *arguments[1:], match="None", error=TypeError)
