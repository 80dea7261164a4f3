"""Conv2d kernels against the oracle, for more than 400 geometries."""

import numpy as np
import pytest
import reference
from checks import assert_close, sum_tolerance

from kernels.conv2d_cases import LISTED, Case, random_case
from kernels.harness import (
    HOSTILE,
    Out,
    normal,
    refuse,
    refuse_threads,
    refuse_wrong_arrays,
    run,
)
from minicnn.kernels.conv2d import conv2d_backward_input, conv2d_backward_weight, conv2d_forward


def arrays(case, seed=0):
    """x, weight, bias or None, dy."""
    rng = np.random.default_rng(seed)
    x = normal(rng, case.N, case.C, *case.image)
    weight = normal(rng, case.K, case.C // case.groups, *case.kernel)
    bias = normal(rng, case.K)
    return x, weight, bias if case.bias else None, normal(rng, case.N, case.K, *case.size())


def absolute(array):
    return None if array is None else np.abs(array)


def check_forward(case, x, weight, bias):
    options = {**case.options(), "output_size": case.size()}
    y = run(conv2d_forward, x, weight, bias, Out((case.N, case.K, *case.size())), *case.geometry())
    expected = reference.conv2d_forward(x, weight, bias, **options)
    scale = reference.conv2d_forward(*map(absolute, (x, weight, bias)), **options)
    close(y, expected, weight[0].size + 1, scale)


def check_backward(case, x, weight, bias, dy):
    geometry = case.geometry()
    dx = run(conv2d_backward_input, dy, weight, Out(x.shape), *geometry)
    if bias is None:
        dweight = run(conv2d_backward_weight, x, dy, Out(weight.shape), None, *geometry)
        results = dx, dweight
    else:
        outputs = Out(weight.shape), Out(bias.shape)
        results = dx, *run(conv2d_backward_weight, x, dy, *outputs, *geometry)
    expected = reference.conv2d_backward(x, weight, dy, **case.options())
    scales = reference.conv2d_backward(*map(absolute, (x, weight, dy)), **case.options())
    pixels = case.N * dy[0, 0].size
    lengths = weight.size // case.C, pixels, pixels
    for got, want, scale, length in zip(results, expected, scales, lengths, strict=False):
        close(got, want, length, scale)


def close(actual, expected, length, scale):
    """Zeros are right only if every window sees nothing but padding: no term, no scale."""
    assert_close(actual, expected, sum_tolerance(length), scale, may_be_zero=not scale.any())


def check(case, seed=0):
    x, weight, bias, dy = arrays(case, seed)
    try:
        check_forward(case, x, weight, bias)
        check_backward(case, x, weight, bias, dy)
    except AssertionError as error:
        raise AssertionError(f"{case}: {error}") from error


@pytest.mark.parametrize("group", LISTED)
def test_conv2d_listed_geometries_equal_oracle(group):
    for case in LISTED[group]:
        check(case)


@pytest.mark.parametrize("first", range(0, 300, 30))
def test_conv2d_random_geometries_equal_oracle(first):
    for seed in range(first, first + 30):
        check(random_case(seed), seed)


def test_conv2d_cases_cover_what_they_claim():
    cases = [case for group in LISTED.values() for case in group]
    cases += [random_case(seed) for seed in range(300)]
    assert len(cases) >= 300
    assert all(min(case.size()) >= 1 for case in cases)
    for claim in (
        lambda c: c.N == 1,
        lambda c: c.stride[0] > c.kernel[0],
        lambda c: max(c.padding) > 0,
        lambda c: max(c.dilation) > 1,
        lambda c: 1 < c.groups < c.C,
        lambda c: 1 < c.groups == c.C,
        lambda c: c.kernel == (1, 1),
        lambda c: c.kernel[0] != c.kernel[1],
        lambda c: not c.bias,
    ):
        assert sum(map(claim, cases)) >= 5


def test_conv2d_nan_and_infinity_reach_exactly_the_windows_that_see_them():
    case = Case(C=9, K=11, image=(8, 7), padding=(1, 2), stride=(2, 1))
    x, weight, _, dy = arrays(case)
    clean = np.abs(x), np.abs(weight), np.abs(dy)
    x[0, 8, 7, 6], x[1, 0, 0, 0] = np.nan, np.inf
    dy[1, 10, 0, 0], dy[0, 0, 3, 5] = np.nan, -np.inf
    geometry, options = case.geometry(), {**case.options(), "output_size": case.size()}
    with np.errstate(invalid="ignore"):
        y = reference.conv2d_forward(x, weight, **options)
        dx = reference.conv2d_backward(np.zeros_like(x), weight, dy, **case.options())[0]
    scale = reference.conv2d_forward(*clean[:2], **options)
    assert_close(
        run(conv2d_forward, x, weight, None, Out(dy.shape), *geometry),
        y, sum_tolerance(weight[0].size), scale,
    )  # fmt: skip
    scale = reference.conv2d_backward(*clean, **case.options())[0]
    assert_close(
        run(conv2d_backward_input, dy, weight, Out(x.shape), *geometry),
        dx, sum_tolerance(weight.size // case.C), scale,
    )  # fmt: skip


def test_conv2d_empty_batch_gives_zero_gradients():
    case = Case(N=0)
    x, weight, bias, dy = arrays(case)
    outputs = Out(weight.shape), Out(bias.shape)
    assert run(conv2d_forward, x, weight, bias, Out(dy.shape), *case.geometry()).size == 0
    assert run(conv2d_backward_input, dy, weight, Out(x.shape), *case.geometry()).size == 0
    for gradient in run(conv2d_backward_weight, x, dy, *outputs, *case.geometry()):
        assert not gradient.any()


def calls(case=None):
    """(kernel, array arguments) of the three passes."""
    case = case or Case()
    x, weight, bias, dy = arrays(case)
    return [
        (conv2d_forward, (x, weight, bias, Out(dy.shape))),
        (conv2d_backward_input, (dy, weight, Out(x.shape))),
        (conv2d_backward_weight, (x, dy, Out(weight.shape), Out(bias.shape))),
    ]


@pytest.mark.parametrize("number", range(7))
def test_conv2d_hostile_geometry_is_refused(number):
    legal = Case().geometry()
    names = ["stride"] * 2 + ["padding"] * 2 + ["dilation"] * 2 + ["groups"]
    for kernel, arguments in calls():
        for value in HOSTILE:
            if number in (2, 3) and value == 0:  # a padding of 0 is a padding
                continue
            wrong = (*legal[:number], value, *legal[number + 1 :])
            refuse(kernel, *arguments, *wrong, match=f"{names[number]}|do not fit|groups")
        for value in (1.5, "1", None):
            wrong = (*legal[:number], value, *legal[number + 1 :])
            refuse(kernel, *arguments, *wrong, match="int", error=TypeError)


def test_conv2d_output_size_that_does_not_fit_is_refused():
    x, weight, bias, dy = arrays(Case())
    geometry = Case().geometry()
    for height, width in ((20, 4), (5, 20), (3, 4), (5, 1), (4, 5)):
        y = Out((2, 4, height, width))
        refuse(conv2d_forward, x, weight, bias, y, *geometry, match="do not fit")
        wrong = np.ones(y.shape, np.float32)
        refuse(conv2d_backward_input, wrong, weight, Out(x.shape), *geometry, match="do not fit")
        refuse(
            conv2d_backward_weight, x, wrong, Out(weight.shape), Out(bias.shape), *geometry,
            match="do not fit",
        )  # fmt: skip


def test_conv2d_image_smaller_than_its_kernel_is_refused():
    x, weight = np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 5, 5), np.float32)
    for size, message in (((0, 0), "size 0"), ((3, 3), "do not fit"), ((1, 4), "do not fit")):
        y = Out((1, 1, *size))
        refuse(conv2d_forward, x, weight, None, y, 1, 1, 0, 0, 1, 1, 1, match=message)


def test_conv2d_shapes_that_disagree_are_refused():
    geometry = Case().geometry()
    x, weight, bias, dy = arrays(Case())
    other = {axis: tuple(s + (i == axis) for i, s in enumerate(dy.shape)) for axis in (0, 1)}
    for shape in other.values():
        refuse(conv2d_forward, x, weight, bias, Out(shape), *geometry, match="y has shape")
        wrong = np.ones(shape, np.float32)
        refuse(conv2d_backward_input, wrong, weight, Out(x.shape), *geometry, match="shape")
        outputs = Out(weight.shape), Out(bias.shape)
        refuse(conv2d_backward_weight, x, wrong, *outputs, *geometry, match="shape")
    wrong = np.ones((4, 2, 3, 3), np.float32)
    refuse(conv2d_forward, x, wrong, bias, Out(dy.shape), *geometry, match="weight has shape")
    wrong = np.ones(3, np.float32)
    refuse(conv2d_forward, x, weight, wrong, Out(dy.shape), *geometry, match="bias has shape")
    outputs = Out(weight.shape), Out((5,))
    refuse(conv2d_backward_weight, x, dy, *outputs, *geometry, match="dbias has shape")
    for groups in (2, 3, 4):  # 3 divides the inputs only, 2 and 4 the outputs only
        wrong = (*geometry[:-1], groups)
        refuse(conv2d_forward, x, weight, bias, Out(dy.shape), *wrong, match="groups")


def test_conv2d_wrong_arrays_and_threads_are_refused():
    for kernel, arguments in calls():
        refuse_wrong_arrays(kernel, *arguments, *Case().geometry())
        refuse_threads(kernel, *arguments, *Case().geometry())
        rest = (*arguments[1:], *Case().geometry())
        refuse(kernel, None, *rest, match="None", error=TypeError)


def test_conv2d_borders_that_no_memory_could_hold_are_refused():
    far = 2**31 - 1  # two outputs a side fit, 2³¹ − 1 pixels apart
    x, weight = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 1, 1), np.float32)
    refuse(
        conv2d_forward, x, weight, None, Out((1, 1, 3, 3)), far, far, far, far, 1, 1, 1,
        match="zero borders would have",
    )  # fmt: skip
