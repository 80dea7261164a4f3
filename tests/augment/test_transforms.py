"""Each transform against plain NumPy, at zero strength, and over the range that it promises.

Tolerance: as in tests/kernels/test_augment.py, 8 roundings of float32 numbers up to 1.
"""

import math

import numpy as np
import pytest

from minicnn import augment
from minicnn.arrays import as_float32

CLOSE = {"rtol": 0, "atol": 8 * 2.0**-24}


def photos(n=5, size=(6, 8), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, *size), dtype=np.uint8)


def uniform(n, draws, seed=0):
    return np.random.default_rng(seed).random((n, draws), np.float32)


def expected_sample(image, column, row):
    """Bilinear value of a (C, H, W) image at a place within it, by the four pixels around."""
    left, top = int(column), int(row)
    right, bottom = min(left + 1, image.shape[2] - 1), min(top + 1, image.shape[1] - 1)
    fx, fy = column - left, row - top
    upper = (1 - fx) * image[:, top, left] + fx * image[:, top, right]
    lower = (1 - fx) * image[:, bottom, left] + fx * image[:, bottom, right]
    return (1 - fy) * upper + fy * lower


# --- geometry --------------------------------------------------------------------------------


def test_flips_with_p_1_mirror_and_with_p_0_do_nothing():
    x = photos()
    np.testing.assert_array_equal(augment.RandomHorizontalFlip(1)(x), as_float32(x)[..., ::-1])
    np.testing.assert_array_equal(augment.RandomVerticalFlip(1)(x), as_float32(x)[:, :, ::-1])
    for flip in (augment.RandomHorizontalFlip(0), augment.RandomVerticalFlip(0)):
        np.testing.assert_array_equal(flip(x), as_float32(x))


@pytest.mark.parametrize("kind", [augment.RandomHorizontalFlip, augment.RandomVerticalFlip])
def test_flips_happen_to_the_share_p_of_the_images(kind):
    x = np.zeros((2000, 1, 2, 2), np.uint8)
    x[:, :, 0, 0] = 255
    kept = (kind(0.3)(x)[:, 0, 0, 0] == 1).mean()
    assert kept == pytest.approx(0.7, abs=0.05)  # 5 standard deviations


@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_rotation_by_quarter_turns_is_rot90(quarters):
    x = photos(size=(7, 7))
    y = augment.RandomRotation((90 * quarters, 90 * quarters))(x)
    np.testing.assert_allclose(y, np.rot90(as_float32(x), quarters, (2, 3)), **CLOSE)


def test_rotation_by_zero_changes_nothing():
    np.testing.assert_array_equal(augment.RandomRotation(0)(photos()), as_float32(photos()))


def test_rotation_draws_angles_evenly_between_its_ends():
    maps = augment.RandomRotation(30).maps(uniform(1000, 1), (10, 10))
    degrees = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert -30 <= degrees.min() < -29 and 29 < degrees.max() <= 30
    assert abs(degrees.mean()) < 2.8  # 5 standard deviations
    single = augment.RandomRotation((5, 5)).maps(uniform(3, 1), (10, 10))
    np.testing.assert_allclose(single[:, 0, 0], math.cos(math.radians(5)))


def test_rotation_shows_the_nearest_pixel_where_corners_open():
    x = np.zeros((1, 1, 9, 9), np.uint8)
    x[..., 0, 0] = x[..., -1, -1] = x[..., 0, -1] = x[..., -1, 0] = 255
    y = augment.RandomRotation((45, 45))(x)
    assert y[0, 0, 4, 0] == 0  # a plain 45° neighbour of no corner
    ones = augment.RandomRotation(45)(np.full((3, 1, 9, 9), 255, np.uint8))
    np.testing.assert_array_equal(ones, np.ones_like(ones))


def test_crop_of_the_whole_image_changes_nothing():
    crop = augment.RandomResizedCrop((1, 1), (1, 1))
    np.testing.assert_array_equal(crop(photos()), as_float32(photos()))


def test_crop_shows_the_rectangle_that_its_numbers_say():
    x, u = as_float32(photos(4)), uniform(4, 4)
    transform = augment.RandomResizedCrop((0.3, 0.6), (0.5, 2))
    maps = transform.maps(u, (6, 8))
    for i, (first, second, left, top) in enumerate(u.astype(np.float64)):
        area, ratio = 0.3 + 0.3 * first, 0.5 * 4**second
        width, height = min(math.sqrt(area * ratio), 1) * 8, min(math.sqrt(area / ratio), 1) * 6
        left, top = left * (8 - width), top * (6 - height)
        for p, q in np.ndindex(6, 8):
            column = left + (q + 0.5) * width / 8 - 0.5
            row = top + (p + 0.5) * height / 6 - 0.5
            np.testing.assert_allclose(maps[i] @ [q, p, 1], [column, row, 1], atol=1e-12)
        # And what is seen there, in the middle of the picture.
        place = maps[i] @ [4, 3, 1]
        y = augment.compose._resample(x[i : i + 1], [(transform, u[i : i + 1])])
        np.testing.assert_allclose(y[0, :, 3, 4], expected_sample(x[i], *place[:2]), **CLOSE)


def test_crop_keeps_within_the_image_and_within_its_ranges():
    maps = augment.RandomResizedCrop((0.1, 0.9), (0.25, 4)).maps(uniform(2000, 4), (32, 48))
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    assert width.max() <= 1 and height.max() <= 1
    assert 0.09 < (width * height).min() < 0.12
    for share, start, length in ((width, maps[:, 0, 2], 48), (height, maps[:, 1, 2], 32)):
        first = start + 0.5 - 0.5 * share  # edge of the rectangle
        assert first.min() >= -1e-9 and (first + share * length).max() <= length + 1e-9


# --- values ----------------------------------------------------------------------------------


def test_color_jitter_of_nothing_changes_nothing():
    np.testing.assert_array_equal(augment.ColorJitter()(photos()), as_float32(photos()))


def fixed(**arguments):
    return augment.ColorJitter(**{name: (value, value) for name, value in arguments.items()})


def test_color_jitter_steps_equal_their_formulas():
    x = as_float32(photos()).astype(np.float64)
    weights = np.array([0.299, 0.587, 0.114])
    light = np.einsum("c,nchw->nhw", weights, x)[:, None]
    mean = light.mean(axis=(2, 3), keepdims=True)
    close = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(fixed(brightness=0.5)(photos()), 0.5 * x, **close)
    np.testing.assert_allclose(fixed(brightness=2)(photos()), (2 * x).clip(0, 1), **close)
    contrast = (0.7 * x + 0.3 * mean).clip(0, 1)
    np.testing.assert_allclose(fixed(contrast=0.7)(photos()), contrast, **close)
    saturation = (1.5 * x - 0.5 * light).clip(0, 1)
    np.testing.assert_allclose(fixed(saturation=1.5)(photos()), saturation, **close)
    grey = fixed(saturation=0)(photos())
    np.testing.assert_allclose(grey, np.broadcast_to(light, x.shape), **close)


def test_color_jitter_hue_turns_colours_and_leaves_their_brightness():
    x = photos() // 4 + 96  # far from 0 and 1: nothing is clamped
    weights = np.array([0.299, 0.587, 0.114])
    for hue in (0.1, -0.25, 0.5):
        y = fixed(hue=hue)(x)
        for image, turned in zip(as_float32(x), y, strict=True):
            before, after = (np.einsum("c,chw->hw", weights, i) for i in (image, turned))
            np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
        assert np.abs(y - as_float32(x)).max() > 0.05
    # Half a turn twice is a whole one; grey has no colour to turn.
    back = fixed(hue=0.5)(fixed(hue=0.5)(x))
    np.testing.assert_allclose(back, as_float32(x), rtol=0, atol=1e-6)
    grey = np.repeat(photos(channels=1), 3, axis=1)
    np.testing.assert_allclose(fixed(hue=0.3)(grey), as_float32(grey), rtol=0, atol=1e-6)


def test_color_jitter_of_grey_images_changes_brightness_and_contrast():
    x = as_float32(photos(channels=1))
    y = fixed(brightness=0.5, contrast=0.5, saturation=0, hue=0.5)(photos(channels=1))
    mean = x.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(y, 0.25 * x + 0.25 * mean, rtol=0, atol=1e-6)


def test_color_jitter_draws_factors_from_its_whole_range():
    x = np.full((500, 1, 1, 1), 102, np.uint8)  # 0.4
    y = augment.ColorJitter(brightness=0.5)(x).ravel() / 0.4
    assert 0.5 <= y.min() < 0.51 and 1.49 < y.max() <= 1.5


def test_erasing_covers_rectangles_of_the_size_that_it_promises():
    x = photos(300, (40, 40))
    y = augment.RandomErasing(1, (0.1, 0.2), (0.5, 2), value=7)(x)
    for image, covered in zip(as_float32(x), y, strict=True):
        hidden = (covered == 7).all(axis=0)
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert hidden.sum() == height * width  # a full rectangle
        assert 0.08 < hidden.mean() < 0.22 and 0.4 < width / height < 2.5
        np.testing.assert_array_equal(covered[:, ~hidden], image[:, ~hidden])


def test_erasing_without_a_value_takes_the_mean_colour():
    x = photos(4)
    y = augment.RandomErasing(1, (1, 1), (1, 1))(x)
    mean = as_float32(x).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(y, np.broadcast_to(mean, y.shape), rtol=1e-6)


def test_erasing_of_nothing_changes_nothing():
    for none in (augment.RandomErasing(0), augment.RandomErasing(1, (0, 0))):
        np.testing.assert_array_equal(none(photos()), as_float32(photos()))


# --- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: augment.RandomHorizontalFlip(1.5), ValueError, r"p is 1.5; expected.*\[0.0, 1"),
        (lambda: augment.RandomVerticalFlip("x"), TypeError, "p is 'x'; expected a number"),
        (lambda: augment.RandomRotation(-5), ValueError, "degrees is -5"),
        (lambda: augment.RandomRotation((5, -5)), ValueError, "expected low <= high"),
        (lambda: augment.RandomRotation((0, 400)), ValueError, "high of degrees is 400"),
        (lambda: augment.RandomResizedCrop(0.5), TypeError, "scale is 0.5; expected a pair"),
        (lambda: augment.RandomResizedCrop((0, 1)), ValueError, "expected shares above 0"),
        (lambda: augment.RandomResizedCrop((0.5, 1.5)), ValueError, "high of scale is 1.5"),
        (lambda: augment.RandomResizedCrop((0.5, 1), (0, 1)), ValueError, "ratio is .* above 0"),
        (lambda: augment.ColorJitter(brightness=-1), ValueError, "brightness is -1"),
        (lambda: augment.ColorJitter(hue=0.6), ValueError, "hue is 0.6"),
        (lambda: augment.ColorJitter(contrast=(2, 1)), ValueError, "contrast is .* low <= high"),
        (lambda: augment.RandomErasing(0.5, (0.1, 1.1)), ValueError, "high of scale"),
        (lambda: augment.RandomErasing(value=math.nan), ValueError, "value is nan"),
        (lambda: augment.MixUp(0), ValueError, "alpha is 0; expected a number of 0.01 to 100"),
        (lambda: augment.CutMix(1000), ValueError, "alpha is 1000"),
        (lambda: augment.CutMix(p=2), ValueError, "p is 2"),
    ],
)
def test_transforms_with_wrong_arguments_say_what_is_expected(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "transform",
    [augment.RandomHorizontalFlip(0.1), augment.RandomVerticalFlip(), augment.RandomRotation(9),
     augment.RandomResizedCrop(), augment.ColorJitter(0.1, (0.5, 2), 0.3, 0.2),
     augment.RandomErasing(value=0.5), augment.MixUp(), augment.CutMix(0.5, p=0.2)],
    ids=repr,
)  # fmt: skip
def test_hyper_parameters_and_repr_make_an_equal_transform(transform):
    again = type(transform)(**transform.hyper_parameters())
    assert again.hyper_parameters() == transform.hyper_parameters()
    assert repr(eval(repr(transform), vars(augment))) == repr(transform)
    x = photos()
    np.testing.assert_array_equal(transform(x), again(x))
