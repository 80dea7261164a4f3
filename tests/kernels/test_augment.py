"""The resampling and the colour map against plain loops in float64, and what they refuse.

Tolerances: a resampled value is three products of float32, each rounded, of numbers up to 1 (or
255, divided at the end): 8 roundings at most. A colour is a sum of four such products.
"""

import numpy as np
import pytest
from checks import UNIT_ROUNDOFF, assert_close, guarded, guarded_copy

from minicnn.kernels.augment import map_colors, warp

IDENTITY = [1.0, 0, 0, 0, 1, 0]
TOLERANCE = 8 * UNIT_ROUNDOFF
PLACES = ("middle", "start", "end")


def slow_warp(images, maps, size):
    """One output pixel after the other, as the module's text says."""
    N, C, H, W = images.shape
    full = 255.0 if images.dtype == np.uint8 else 1.0
    y = np.empty((N, C, *size))
    for n, p, q in np.ndindex(N, *size):
        a, b, c, d, e, f = maps[n]
        column = min(max(a * q + b * p + c, 0), W - 1)
        row = min(max(d * q + e * p + f, 0), H - 1)
        left, top = int(column), int(row)
        right, bottom = min(left + 1, W - 1), min(top + 1, H - 1)
        fx, fy = column - left, row - top
        pixels = images[n].astype(np.float64) / full
        upper = (1 - fx) * pixels[:, top, left] + fx * pixels[:, top, right]
        lower = (1 - fx) * pixels[:, bottom, left] + fx * pixels[:, bottom, right]
        y[n, :, p, q] = (1 - fy) * upper + fy * lower
    return y


def call_warp(images, maps, shape, place="middle"):
    """`warp` between guard zones, with every element checked to be written."""
    x, m, y = guarded_copy(images, place), guarded_copy(maps, place), guarded(shape, place=place)
    warp(x.array, m.array, y.array)
    for buffer in (x, m, y):
        buffer.check_guards()
    x.check_unchanged()
    m.check_unchanged()
    y.check_written()
    return y.array


def draw(rng, dtype, *shape):
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.random(shape, np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_warp_equals_oracle(dtype):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        N, C, H, W, P, Q = (int(size) for size in rng.integers(1, 7, 6))
        images = draw(rng, dtype, N, C, H, W)
        maps = rng.normal(0, 1, (N, 6)) * [1, 1, 4, 1, 1, 4]  # some of it outside of the image
        y = call_warp(images, maps, (N, C, P, Q), PLACES[seed % 3])
        # Where the coordinate is nearly whole, float64 may fall on the other side: no jump there.
        assert_close(y, slow_warp(images, maps, (P, Q)), TOLERANCE, 1.0)


def test_warp_by_the_identity_gives_every_byte_divided_by_255():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    y = call_warp(images, np.array([IDENTITY]), images.shape)
    np.testing.assert_array_equal(y, np.divide(images, np.float32(255), dtype=np.float32))


def test_warp_by_whole_pixels_moves_them_and_repeats_the_border():
    images = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    y = call_warp(images, np.array([[1.0, 0, 2, 0, 1, -1]]), (1, 1, 3, 4))
    row = [2, 3, 3, 3]
    np.testing.assert_array_equal(y[0, 0], [row, row, [6, 7, 7, 7]])


def test_warp_by_huge_maps_stays_inside_of_the_image():
    images = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    for value in (1e300, -1e300):
        y = call_warp(images, np.full((1, 6), value), (1, 1, 2, 2), "end")
        assert set(y.ravel().tolist()) <= {0.0, 8.0}
    # inf - inf within: any pixel will do, none outside of the image.
    call_warp(images, np.array([[1e308, -1e308, 0, 1e308, -1e308, 0]]), (1, 1, 40, 40), "start")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_warp_by_a_map_that_is_not_finite_is_refused(value):
    y = guarded((1, 1, 2, 2))
    for k in range(6):
        maps = np.array([IDENTITY])
        maps[0, k] = value
        with pytest.raises(ValueError, match=rf"maps\[0, {k}\] is"):
            warp(np.zeros((1, 1, 2, 2), np.uint8), maps, y.array)
    y.check_untouched()


@pytest.mark.parametrize(
    ("images", "maps", "y", "message"),
    [
        ((2, 3, 4, 4), (2, 6), (2, 1, 4, 4), "y has shape"),
        ((2, 3, 4, 4), (2, 6), (1, 3, 4, 4), "y has shape"),
        ((2, 3, 4, 4), (1, 6), (2, 3, 4, 4), "maps has shape"),
        ((2, 3, 4, 4), (2, 5), (2, 3, 4, 4), "maps has shape"),
        ((2, 3, 0, 4), (2, 6), (2, 3, 4, 4), "size 0"),
        ((2, 3, 4, 4), (2, 6), (2, 3, 4, 0), "size 0"),
    ],
)
def test_warp_with_shapes_that_disagree_is_refused(images, maps, y, message):
    with pytest.raises(ValueError, match=message):
        warp(np.zeros(images, np.uint8), np.ones(maps), np.zeros(y, np.float32))


def test_warp_of_no_images_does_nothing():
    warp(np.zeros((0, 1, 2, 2), np.uint8), np.ones((0, 6)), np.zeros((0, 1, 2, 2), np.float32))


# --- colours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_map_colors_equals_oracle(channels):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        N, S = int(rng.integers(1, 4)), int(rng.integers(1, 40))
        x = rng.random((N, channels, S), np.float32)
        matrices = rng.normal(0, 1, (N, channels, channels)).astype(np.float32)
        shares = rng.normal(0, 1, N).astype(np.float32)
        weights = np.array([1.0] if channels == 1 else [0.299, 0.587, 0.114])
        grey = (weights @ x.astype(np.float64)).mean(axis=1)
        expected = matrices.astype(np.float64) @ x + (shares * grey)[:, None, None]
        inside = guarded_copy(x, PLACES[seed % 3])
        map_colors(inside.array, matrices, shares)
        inside.check_guards()
        scale = 1 + np.abs(matrices).sum(axis=2).max() + np.abs(shares).max()
        assert_close(inside.array, expected.clip(0, 1), TOLERANCE, scale, may_be_zero=True)


def test_map_colors_by_the_identity_changes_no_bit():
    x = np.random.default_rng(0).random((2, 3, 50), np.float32)
    y = x.copy()
    map_colors(y, np.tile(np.eye(3, dtype=np.float32), (2, 1, 1)), np.zeros(2, np.float32))
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("x", "matrices", "shares", "message"),
    [
        ((2, 2, 5), (2, 2, 2), (2,), "2 channels; expected 1 or 3"),
        ((2, 3, 5), (2, 3, 2), (2,), "matrices has shape"),
        ((2, 3, 5), (1, 3, 3), (2,), "matrices has shape"),
        ((2, 3, 5), (2, 3, 3), (3,), "grey_shares has shape"),
        ((2, 3, 0), (2, 3, 3), (2,), "size 0"),
    ],
)
def test_map_colors_with_shapes_that_disagree_is_refused(x, matrices, shares, message):
    arrays = (np.zeros(shape, np.float32) for shape in (x, matrices, shares))
    with pytest.raises(ValueError, match=message):
        map_colors(*arrays)
