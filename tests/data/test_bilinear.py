"""Bilinear resizing as OpenCV does it: the seed's own pixels, and values worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from minicnn.data.bilinear import neighbours, resize_bytes, resize_map

PHOTOS = ("bird", "bird_2", "bird_3", "cat", "dog", "dog_3", "panda", "panda_2", "yuan")


@pytest.mark.parametrize("name", PHOTOS)
def test_resize_photo_gives_the_bytes_that_the_seed_saw(data_dir, name):
    golden = np.load(data_dir / "seed" / "golden.npz")
    (place,) = np.flatnonzero(golden["names"] == f"{name}.jpg")
    with Image.open(data_dir / "seed" / "images" / f"{name}.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB"))
    resized = resize_bytes(pixels, 224, 224)[:, :, ::-1].astype(int)
    difference = resized - golden["pixels_bgr"][place]
    # Equal with the decoder that the seed's pixels came from; the JPEG standard lets another
    # one differ by a level a pixel, and a wrong rule for positions differs by 30 and more.
    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.05  # exact arithmetic, rounded, is off by 0.08 or more


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 3), (4, 4, 1)])
def test_resize_to_the_same_size_changes_nothing(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(resize_bytes(pixels, *shape[:2]), pixels)


def test_resize_one_pixel_fills_the_new_picture():
    pixels = np.array([[[3, 200, 255]]], np.uint8)
    assert (resize_bytes(pixels, 5, 4) == pixels).all()


def test_resize_by_half_is_the_mean_of_two_by_two_and_skips_the_others():
    row = np.array([10, 20, 90, 90, 90, 90, 50, 70], np.uint8)
    pixels = np.tile(row, (8, 1))[:, :, None]
    np.testing.assert_array_equal(resize_bytes(pixels, 4, 4)[0, :, 0], [15, 90, 90, 60])
    # To a quarter: each looks at the two middle ones of four, not at all four.
    np.testing.assert_array_equal(resize_bytes(pixels, 2, 2)[0, :, 0], [55, 70])


def test_resize_extremes_neither_wrap_nor_fade():
    for level in (0, 255):
        pixels = np.full((9, 11, 3), level, np.uint8)
        assert (resize_bytes(pixels, 224, 31) == level).all()


def test_neighbours_stay_inside_for_every_size():
    for old in (1, 2, 3, 10):
        for new in (1, 2, 3, 7, 25):
            first, second, weight = neighbours(old, new)
            assert first.min() >= 0 and second.max() <= old - 1
            assert (second - first <= 1).all() and (0 <= weight).all() and (weight <= 1).all()


def test_resize_map_enlarges_with_half_pixel_centres():
    values = np.array([[0.0, 1.0]], np.float32)
    resized = resize_map(values, 2, 4)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, [[0, 0.25, 0.75, 1]] * 2)
