"""The checkers themselves: each must fail on exactly the defect it is there for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checks import (
    UNIT_ROUNDOFF,
    assert_close,
    assert_same_bits,
    guarded,
    guarded_copy,
    sum_tolerance,
)

PLACES = ("middle", "start", "end")
DTYPES = (np.float32, np.float64, np.int32, np.int64, np.uint8)


def beyond(array, offset):
    """A view of one element outside `array`, as a kernel with a wrong index would reach it."""
    address = array.ctypes.data + offset * array.itemsize
    buffer = (np.ctypeslib.ctypes.c_char * array.itemsize).from_address(address)
    return np.frombuffer(buffer, array.dtype)


@pytest.fixture
def expected():
    return np.random.default_rng(0).standard_normal((3, 5, 7))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_guarded_fully_written_passes(dtype, place):
    buffer = guarded((3, 5), dtype, place)
    buffer.array[...] = 1
    buffer.check_written()
    buffer.check_guards()
    assert buffer.array.flags.c_contiguous and buffer.array.flags.writeable


def test_guarded_fresh_float_is_nan_everywhere():
    for dtype in (np.float32, np.float64):
        buffer = guarded((4, 4), dtype)
        assert np.isnan(buffer.array).all()
        assert np.isnan(beyond(buffer.array, -1)).all()
        assert np.isnan(beyond(buffer.array, buffer.array.size)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_check_written_one_element_missing_fails(dtype):
    for flat in (0, 7, 14):
        buffer = guarded((3, 5), dtype)
        keep = buffer.array.ravel()[flat].copy()
        buffer.array[...] = 0
        buffer.array.ravel()[flat] = keep
        with pytest.raises(AssertionError, match=r"1 of 15 elements never written"):
            buffer.check_written()


def test_check_written_ordinary_nan_counts_as_written():
    buffer = guarded((2, 2))
    buffer.array[...] = np.nan
    buffer.check_written()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("place", "side"),
    [
        ("middle", "before"),
        ("middle", "after"),
        ("start", "after"),
        ("end", "before"),
    ],
)
def test_check_guards_one_overrun_cell_fails(dtype, place, side):
    buffer = guarded((3, 5), dtype, place)
    beyond(buffer.array, -1 if side == "before" else buffer.array.size)[...] = 0
    with pytest.raises(AssertionError, match=f"written {side} the array"):
        buffer.check_guards()


@pytest.mark.skipif(sys.platform == "win32", reason="guard pages need mprotect")
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("access", ["cell[0]", "cell.__setitem__(0, 0)"])
def test_guard_page_one_cell_beyond_ends_the_process(place, access):
    program = (
        "from checks import guarded; from test_checks import beyond\n"
        f"array = guarded((3, 5), place={place!r}).array\n"
        f"cell = beyond(array, {-1 if place == 'start' else 15})\n"
        "print('alive', flush=True)\n"
        f"{access}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.stdout == "alive\n"
    assert done.returncode != 0


def test_check_unchanged_one_flipped_sign_fails():
    values = np.zeros((3, 5), np.float32)
    buffer = guarded_copy(values)
    buffer.check_unchanged()
    buffer.array[1, 2] = -0.0
    with pytest.raises(AssertionError, match=r"changed at \(1, 2\)"):
        buffer.check_unchanged()


def test_guarded_copy_empty_and_scalar_shapes_pass():
    for shape in ((0,), (2, 0, 3), ()):
        buffer = guarded_copy(np.ones(shape, np.float32))
        buffer.check_unchanged()
        buffer.check_guards()


def test_assert_close_rounded_to_float32_passes(expected):
    assert_close(expected.astype(np.float32), expected, UNIT_ROUNDOFF)


def test_assert_close_zeros_fail(expected):
    with pytest.raises(AssertionError, match="105 of 105 elements differ"):
        assert_close(np.zeros_like(expected), expected, 1e-6, scale=1.0)


def test_assert_close_bound_that_accepts_zeros_fails(expected):
    for actual in (expected, np.zeros_like(expected)):
        with pytest.raises(AssertionError, match="zeros would pass"):
            assert_close(actual, expected, 1.0, scale=10.0)
    assert_close(np.zeros(3), np.zeros(3), 1e-6, may_be_zero=True)


def test_assert_close_one_flipped_element_fails(expected):
    for flat in range(expected.size):
        actual = expected.copy()
        actual.ravel()[flat] *= -1
        with pytest.raises(AssertionError, match="1 of 105 elements differ"):
            assert_close(actual, expected, 1e-6, scale=1.0)


def test_assert_close_one_unwritten_element_fails(expected):
    for flat in range(expected.size):
        actual = guarded(expected.shape)
        keep = actual.array.ravel()[flat].copy()
        actual.array[...] = expected
        actual.array.ravel()[flat] = keep
        with pytest.raises(AssertionError, match="1 of 105 elements differ"):
            assert_close(actual.array, expected, 1e-6, scale=1.0)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.nan, 1.0),
        (np.inf, 1.0),
        (1.0, np.nan),
        (np.inf, np.nan),
        (1.0, np.inf),
        (-np.inf, np.inf),
        (np.nan, np.inf),
        (np.float32(3e38), np.inf),
    ],
)
def test_assert_close_wrong_special_value_fails(got, want):
    with pytest.raises(AssertionError, match="1 of 2 elements differ"):
        assert_close(np.array([2.0, got]), np.array([2.0, want]), 1e-6)


def test_assert_close_same_special_values_pass():
    values = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert_close(values, values, 1e-6)


def test_assert_close_other_shape_fails(expected):
    with pytest.raises(AssertionError, match="shape"):
        assert_close(expected[:1], expected, 1e-6)


def test_assert_same_bits_any_difference_fails():
    values = np.array([0.0, 1.0, np.nan], np.float32)
    assert_same_bits(values, values.copy())
    for other in (
        np.array([-0.0, 1.0, np.nan], np.float32),
        np.array([0.0, np.nextafter(np.float32(1), np.float32(2)), np.nan], np.float32),
        values.astype(np.float64),
        values[:2],
    ):
        with pytest.raises(AssertionError):
            assert_same_bits(other, values)


@pytest.mark.parametrize("length", [1, 9, 100, 2000])
def test_sum_tolerance_plain_float32_sums_pass_and_a_missing_product_fails(length):
    rng = np.random.default_rng(length)
    a = rng.standard_normal((50, length)).astype(np.float32)
    b = np.copysign(rng.uniform(0.5, 1.5, (50, length)), rng.standard_normal((50, length)))
    products = a * b.astype(np.float32)
    exact = a.astype(np.float64) * b.astype(np.float32)
    scale = np.abs(exact).sum(axis=1)
    one_by_one = np.add.accumulate(products, axis=1, dtype=np.float32)[:, -1]
    assert_close(one_by_one, exact.sum(axis=1), sum_tolerance(length), scale)
    largest = np.abs(exact).max(axis=1)
    with pytest.raises(AssertionError):
        assert_close(one_by_one - largest, exact.sum(axis=1), sum_tolerance(length), scale)
