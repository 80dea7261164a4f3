"""Pooling kernels against the oracle: 200 windows, ties, NaN, ceil mode, stray indices."""

from dataclasses import dataclass

import numpy as np
import pytest
import reference
from checks import assert_close, assert_same_bits, sum_tolerance

from kernels.harness import (
    HOSTILE,
    Out,
    float32,
    normal,
    refuse,
    refuse_threads,
    refuse_wrong_arrays,
    run,
)
from minicnn.kernels import pool2d


@dataclass(frozen=True)
class Case:
    """One pooling; `ceil` says for each axis which of the two legal sizes it has."""

    N: int = 2
    C: int = 3
    image: tuple[int, int] = (7, 6)
    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: tuple[int, int] = (0, 0)
    ceil: tuple[bool, bool] = (False, False)

    def size(self):
        axes = zip(self.image, self.kernel, self.stride, self.padding, self.ceil, strict=True)
        return tuple(reference.pool_output_size(*axis) for axis in axes)

    def shapes(self):
        """Of x and y."""
        return (self.N, self.C, *self.image), (self.N, self.C, *self.size())

    def window(self):
        return (*self.kernel, *self.stride, *self.padding)

    def options(self):
        return self.kernel, self.stride, self.padding


LISTED = (
    [Case(N=1, C=1, image=(n, 19 - n)) for n in range(2, 18)]
    + [Case(image=(n, 5), kernel=(1, 1), stride=(s, 1)) for n in (1, 4) for s in (1, 3)]
    + [Case(image=(8, 7), kernel=(3, 2), stride=(1, s), padding=(1, 1)) for s in (1, 2, 4)]
    + [Case(image=(h, 5), kernel=(h, 5), stride=(1, 2**31 + 1)) for h in (1, 2, 9)]
    + [
        Case(image=(h, w), kernel=(3, 2), stride=(2, 3), padding=(p, p), ceil=(True, True))
        for h in (3, 4, 5, 6)
        for w in (4, 5, 6)
        for p in (0, 1)
    ]
)


def random_case(seed):
    rng = np.random.default_rng([seed, 11])

    def pair(low, high):
        return tuple(int(i) for i in rng.integers(low, high + 1, 2))

    kernel = pair(1, 5)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    image = tuple(
        max(1, k - 2 * p) + int(rng.integers(0, 8)) for k, p in zip(kernel, padding, strict=True)
    )
    return Case(*pair(1, 3), image, kernel, pair(1, 4), padding, tuple(b > 0 for b in pair(0, 1)))


CASES = [*LISTED, *(random_case(seed) for seed in range(150))]
GROUPS = [CASES[start : start + 40] for start in range(0, len(CASES), 40)]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{len(group)} cases")
def test_max_pool2d_equals_oracle_bit_for_bit(group):
    for number, case in enumerate(group):
        rng = np.random.default_rng(number)
        x_shape, y_shape = case.shapes()
        x = float32(rng.integers(-3, 3, x_shape))  # few values: ties everywhere
        if number % 2:
            x[rng.random(x_shape) < 0.1] = np.nan
            x[rng.random(x_shape) < 0.1] = -np.inf
        y, indices = run(
            pool2d.max_pool2d_forward, x, Out(y_shape), Out(y_shape, np.int32), *case.window()
        )
        want, winners = reference.max_pool2d_forward(x, *case.options(), case.size())
        np.testing.assert_array_equal(y, want)
        assert_same_bits(indices, winners)
        dy = normal(rng, *y_shape)
        dx = run(pool2d.max_pool2d_backward, dy, indices, Out(x_shape))
        expected = reference.max_pool2d_backward(dy, winners, case.image)
        scale = reference.max_pool2d_backward(np.abs(dy), winners, case.image)
        assert_close(dx, expected, sum_tolerance(np.prod(case.kernel)), scale)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{len(group)} cases")
def test_avg_pool2d_equals_oracle(group, include):
    for number, case in enumerate(group):
        rng = np.random.default_rng(number)
        x_shape, y_shape = case.shapes()
        x, dy, terms = normal(rng, *x_shape), normal(rng, *y_shape), np.prod(case.kernel)
        y = run(pool2d.avg_pool2d_forward, x, Out(y_shape), *case.window(), include)
        oracle = (*case.options(), include)
        expected = reference.avg_pool2d_forward(x, *oracle, case.size())
        scale = reference.avg_pool2d_forward(np.abs(x), *oracle, case.size())
        assert_close(y, expected, sum_tolerance(terms), scale)
        dx = run(pool2d.avg_pool2d_backward, dy, Out(x_shape), *case.window(), include)
        expected = reference.avg_pool2d_backward(dy, case.image, *oracle)
        scale = reference.avg_pool2d_backward(np.abs(dy), case.image, *oracle)
        assert_close(dx, expected, sum_tolerance(terms), scale)


def test_global_avg_pool_equals_oracle():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shape = (*rng.integers(1, 5, 2), *rng.integers(1, 20, 2))
        x, dy = normal(rng, *shape), normal(rng, *shape[:2], 1, 1)
        y = run(pool2d.global_avg_pool_forward, x, Out(dy.shape))
        tolerance = sum_tolerance(x[0, 0].size)
        scale = reference.global_avg_pool_forward(np.abs(x))
        assert_close(y, reference.global_avg_pool_forward(x), tolerance, scale)
        dx = run(pool2d.global_avg_pool_backward, dy, Out(x.shape))
        assert_close(dx, reference.global_avg_pool_backward(dy, x.shape[2:]), sum_tolerance(1))


def test_avg_pool2d_nan_reaches_exactly_the_windows_that_hold_it():
    case = Case(kernel=(3, 3), stride=(1, 2), padding=(1, 1))
    rng = np.random.default_rng(0)
    x = normal(rng, *case.shapes()[0])
    x[1, 2, 0, 5], x[0, 0, 6, 0] = np.nan, np.inf
    y = run(pool2d.avg_pool2d_forward, x, Out(case.shapes()[1]), *case.window(), True)
    expected = reference.avg_pool2d_forward(x, *case.options())
    assert_close(y, expected, sum_tolerance(9), 3.0)


def test_pools_empty_batch_is_no_work():
    x, y = (np.empty(shape, np.float32) for shape in Case(N=0).shapes())
    window, indices = Case().window(), np.empty(y.shape, np.int32)
    outputs = Out(y.shape), Out(y.shape, np.int32)
    run(pool2d.max_pool2d_forward, x, *outputs, *window)
    run(pool2d.max_pool2d_backward, y, indices, Out(x.shape))
    run(pool2d.avg_pool2d_forward, x, outputs[0], *window, True)
    run(pool2d.avg_pool2d_backward, y, Out(x.shape), *window, True)


def calls(case=None):
    """(kernel, array arguments, arguments after the window) of the passes with a window."""
    x_shape, y_shape = (case or Case()).shapes()
    x, y = np.ones(x_shape, np.float32), np.ones(y_shape, np.float32)
    return [
        (pool2d.max_pool2d_forward, (x, Out(y_shape), Out(y_shape, np.int32)), ()),
        (pool2d.avg_pool2d_forward, (x, Out(y_shape)), (True,)),
        (pool2d.avg_pool2d_backward, (y, Out(x_shape)), (True,)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_pool_hostile_window_is_refused(number):
    legal = Case().window()
    words = ["kernel"] * 2 + ["stride"] * 2 + ["padding"] * 2
    for kernel, arrays, rest in calls():
        for value in HOSTILE:
            if number >= 4 and value == 0:
                continue
            wrong = (*legal[:number], value, *legal[number + 1 :])
            match = f"{words[number]}|do not fit"
            refuse(kernel, *arrays, *wrong, *rest, match=match)
        wrong = (*legal[:number], 1.5, *legal[number + 1 :])
        refuse(kernel, *arrays, *wrong, *rest, match="int", error=TypeError)


def test_pool_windows_that_do_not_fit_are_refused():
    x = np.ones((2, 3, 7, 6), np.float32)
    for size in ((5, 3), (2, 3), (3, 4), (0, 3)):
        y = Out((2, 3, *size))
        refuse(pool2d.avg_pool2d_forward, x, y, *Case().window(), True, match="do not fit")
    y = Out((2, 3, 5, 4))
    refuse(pool2d.avg_pool2d_forward, x, y, 2, 2, 2, 2, 2, 2, True, match="at most half")


def test_pool_shapes_that_disagree_are_refused():
    x_shape, y_shape = Case().shapes()
    x, dy = np.ones(x_shape, np.float32), np.ones(y_shape, np.float32)
    window = Case().window()
    for shape in ((1, *y_shape[1:]), (2, 4, *y_shape[2:])):
        wrong = np.ones(shape, np.float32)
        outputs = Out(shape), Out(y_shape, np.int32)
        refuse(pool2d.max_pool2d_forward, x, *outputs, *window, match="y has shape")
        outputs = Out(y_shape), Out(shape, np.int32)
        refuse(pool2d.max_pool2d_forward, x, *outputs, *window, match="indices has shape")
        refuse(pool2d.avg_pool2d_backward, wrong, Out(x_shape), *window, True, match="shape")
        indices = np.zeros(shape, np.int32)
        refuse(pool2d.max_pool2d_backward, dy, indices, Out(x_shape), match="shape")
        refuse(pool2d.global_avg_pool_forward, x, Out((*shape[:2], 1, 1)), match="y has shape")
    refuse(pool2d.global_avg_pool_forward, x, Out(y_shape), match="y has shape")
    refuse(pool2d.global_avg_pool_backward, dy, Out(x_shape), match="dy has shape")


@pytest.mark.parametrize("stray", [-1, 42, 2**31 - 1, -(2**31)])
def test_max_pool2d_backward_index_outside_the_plane_is_refused(stray):
    x_shape, y_shape = Case().shapes()
    indices = np.zeros(y_shape, np.int32)
    indices[1, 2, 2, 2] = stray
    dy = np.ones(y_shape, np.float32)
    for threads in (1, 3):
        refuse(
            pool2d.max_pool2d_backward, dy, indices, Out(x_shape), match=str(stray),
            threads=threads,
        )  # fmt: skip


def test_pool_wrong_arrays_and_threads_are_refused():
    for kernel, arrays, rest in calls():
        refuse_wrong_arrays(kernel, *arrays, *Case().window(), *rest)
        refuse_threads(kernel, *arrays, *Case().window(), *rest)
    x_shape, y_shape = Case().shapes()
    backward = np.ones(y_shape, np.float32), np.zeros(y_shape, np.int32), Out(x_shape)
    refuse_wrong_arrays(pool2d.max_pool2d_backward, *backward)
    refuse_threads(pool2d.max_pool2d_backward, *backward)
