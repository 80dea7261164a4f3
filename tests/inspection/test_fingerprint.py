"""What stays of a picture when it is saved again, and what does not."""

import io

import numpy as np
import pytest
from inspection.pictures import scene
from PIL import Image, ImageEnhance

from minicnn.inspection.fingerprint import SIDE, code_of, fingerprint
from minicnn.inspection.neighbours import ALIKE, BITS, correlation

SCENES = 12


def compressed(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


CHANGES = {
    "half": lambda p: p.resize((p.width // 2, p.height // 2)),
    "larger": lambda p: p.resize((p.width * 2, p.height * 2)),
    "stretched": lambda p: p.resize((64, 64)),
    "quality 30": lambda p: compressed(p, 30),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "cut": lambda p: p.crop((1, 1, p.width - 1, p.height - 1)),
}


def looks_like(one, other):
    near = (one.code ^ other.code).bit_count() <= BITS
    return near and correlation(one.thumbnail[None], other.thumbnail[None])[0] >= ALIKE


def is_alike(one, other):
    return looks_like(one.whole, other.whole)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_picture_saved_differently_is_alike_but_has_other_pixels(change):
    for seed in range(SCENES):
        one, other = fingerprint(scene(seed)), fingerprint(change(scene(seed)))
        assert is_alike(one, other) and one.pixels != other.pixels


def test_other_pictures_are_not_alike_in_any_view():
    prints = [fingerprint(scene(seed)) for seed in range(40)]
    for k, one in enumerate(prints):
        for other in prints[:k] + prints[k + 1 :]:
            views = (one.whole, one.mirrored, *one.middles)
            assert not any(looks_like(view, other.whole) for view in views)


def test_mirror_image_looks_like_the_mirrored_view():
    for seed in range(SCENES):
        flipped = fingerprint(scene(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        assert looks_like(fingerprint(scene(seed)).mirrored, flipped.whole)
        assert not is_alike(fingerprint(scene(seed)), flipped)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2])
def test_middle_of_a_picture_looks_like_one_of_its_middles(share):
    for seed in range(SCENES):
        large = scene(seed).resize((400, 300), Image.Resampling.BICUBIC)
        edges = [round(side * share / 2) for side in large.size]
        cut = large.crop((*edges, large.width - edges[0], large.height - edges[1]))
        views = fingerprint(large).middles
        assert any(looks_like(view, fingerprint(cut).whole) for view in views)


def test_same_pixels_give_the_same_digest_and_another_pixel_another():
    picture = scene(1)
    again = fingerprint(picture.copy())
    assert again.pixels == fingerprint(picture).pixels
    assert again.whole.code == fingerprint(picture).whole.code
    red, green, blue = picture.getpixel((3, 3))
    picture.putpixel((3, 3), (red, green, blue ^ 1))
    assert fingerprint(picture).pixels != again.pixels


def test_same_bytes_in_another_shape_are_other_pixels():
    one, other = (Image.new("RGB", size) for size in ((6, 4), (4, 6)))
    assert fingerprint(one).pixels != fingerprint(other).pixels


def test_code_is_the_signs_of_the_slow_waves():
    x = (np.arange(SIDE) + 0.5) / SIDE
    # One wave along each axis: those two coefficients stand out, upwards and downwards.
    grey = 100 + 50 * np.cos(3 * np.pi * x)[:, None] - 50 * np.cos(5 * np.pi * x)[None, :]
    bits = np.unpackbits(np.frombuffer(code_of(grey).to_bytes(8, "big"), np.uint8)).reshape(8, 8)
    assert bits[3, 0] == 1 and bits[0, 5] == 0 and bits[0, 0] == 1


def test_code_has_as_many_ones_as_zeros():
    assert {fingerprint(scene(seed)).whole.code.bit_count() for seed in range(20)} == {32}


def test_code_does_not_change_with_brightness_and_contrast():
    grey = np.asarray(scene(2).convert("L").resize((SIDE, SIDE)), np.float64)
    code = code_of(grey)
    assert code_of(grey * 0.5).bit_count() == code.bit_count()
    assert (code_of(grey * 0.5 + 60) ^ code).bit_count() <= 2  # only the mean's own wave moves
