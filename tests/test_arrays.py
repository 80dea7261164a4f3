"""Conversions at the public edge."""

import numpy as np
import pytest

from minicnn.arrays import as_float32, as_labels, check_images


def test_uint8_becomes_float32_divided_by_255():
    x = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    out = as_float32(x)
    assert out.dtype == np.float32 and out.shape == x.shape
    # Correctly rounded: the float64 quotient rounded once gives the same float32 for all 256.
    assert np.array_equal(out, (x / 255.0).astype(np.float32))
    assert out.max() == 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.longdouble])
def test_floats_become_float32_unscaled(dtype):
    out = as_float32(np.array([[0.5, 300.0, -1.0]], dtype))
    assert out.dtype == np.float32 and out.dtype.isnative
    assert out.tolist() == [[0.5, 300.0, -1.0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["transposed", "stepped", "fortran"])
def test_any_layout_becomes_contiguous(dtype, layout):
    x = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).astype(dtype)
    view = {
        "transposed": x.transpose(0, 3, 1, 2),
        "stepped": x[:, :, ::-2],
        "fortran": np.asfortranarray(x),
    }[layout]
    out = as_float32(view)
    assert out.flags.c_contiguous
    scale = 255 if dtype == np.uint8 else 1
    assert np.array_equal(out, (view / scale).astype(np.float32))


def test_contiguous_float32_is_returned_as_it_is():
    x = np.zeros((2, 3), np.float32)
    assert as_float32(x) is x


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, bool, complex, object, "U3"])
def test_images_of_another_dtype_are_a_type_error(dtype):
    with pytest.raises(TypeError, match=r"images must be uint8 .* or float .* got .*; convert"):
        as_float32(np.zeros((2, 2), dtype))


@pytest.mark.parametrize("shape", [(), (5,)])
def test_images_without_a_batch_axis_are_a_value_error(shape):
    with pytest.raises(ValueError, match=r"need a batch axis .* x\[np.newaxis\]"):
        check_images(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u2", bool]
)
def test_labels_of_any_integer_width_become_int64(dtype):
    out = as_labels(np.array([0, 1, 1], dtype), 3)
    assert out.dtype == np.int64 and out.dtype.isnative and out.tolist() == [0, 1, 1]


def test_labels_keep_negative_numbers_for_ignore_index():
    assert as_labels([-100, 2]).tolist() == [-100, 2]


def test_labels_of_length_zero_are_accepted():
    assert as_labels([]).dtype == np.int64


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros(3), TypeError, r"integers, got float64; use y.astype\(np.int64\)"),
        (np.array(["a", "b", "a"]), TypeError, r"integers, got <U1; number the classes"),
        (np.zeros((3, 1), int), ValueError, r"got shape \(3, 1\); use y.ravel\(\)"),
        (np.eye(3), ValueError, r"got shape \(3, 3\); for one-hot rows use y.argmax\(axis=1\)"),
        (np.int64(3), ValueError, r"got shape \(\)"),
        (np.zeros(2, int), ValueError, "got 2 for 3 samples"),
        (np.array([0, 1, 2**63], np.uint64), ValueError, "must fit int64, got 9223372036854775808"),
    ],
)
def test_labels_that_are_wrong_name_what_was_got_and_the_fix(y, error, message):
    with pytest.raises(error, match=message):
        as_labels(y, 3)
