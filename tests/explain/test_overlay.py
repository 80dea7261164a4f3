"""The picture of a heat map."""

import io

import numpy as np
import pytest
from PIL import Image

from minicnn.explain import overlay, png


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_overlay_shows_picture_and_heat_side_by_side(channels):
    picture = np.full((channels, 30, 60), 100, np.uint8)
    heat = np.zeros((30, 60), np.float32)
    heat[:, 30:] = 1
    shown = overlay(picture, heat)
    assert shown.shape == (224, 896, 3) and shown.dtype == np.uint8
    assert (shown[:, :448] == 100).all()
    cold, hot = shown[100, 448 + 50].astype(int), shown[100, 448 + 400].astype(int)
    assert cold.max() < 100 and np.ptp(cold) <= 1  # dimmed, without colour
    assert hot[0] > 200 and hot[0] > hot[2] + 80  # yellow


def test_overlay_of_a_large_picture_keeps_its_size():
    picture = np.random.default_rng(0).integers(0, 256, (3, 500, 700), np.uint8)
    shown = overlay(picture, np.zeros((500, 700), np.float32))
    assert shown.shape == (500, 1400, 3)
    np.testing.assert_array_equal(shown[:, :700], picture.transpose(1, 2, 0))


def test_overlay_of_a_narrow_picture_is_drawn():
    shown = overlay(np.zeros((1, 1, 900), np.uint8), np.zeros((1, 900), np.float32))
    assert shown.shape == (1, 1800, 3)


def test_png_gives_the_pixels_back():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)
