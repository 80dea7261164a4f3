"""Pictures from files as model inputs: every format and mode, and what is no picture."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from minicnn.data.errors import DataError
from minicnn.data.pictures import (
    border,
    check_preprocessing,
    in_channel_order,
    load_picture,
    preprocessing_of,
)

GREY = {"channels": 1, "size": [4, 6], "divisor": 255, "background": None}
COLOUR = GREY | {"channels": 3}
PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def saved(tmp_path, picture, name="a.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.tiff", "a.webp", "a.pgm"])
def test_lossless_format_gives_the_pixels_exactly(tmp_path, name):
    path = saved(
        tmp_path, Image.fromarray(PIXELS), name, **{"lossless": True} if "webp" in name else {}
    )
    np.testing.assert_array_equal(load_picture(path, GREY), PIXELS[np.newaxis])


def test_jpeg_gives_nearly_the_pixels(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.jpg", quality=95)
    got = load_picture(path, GREY).astype(int)
    assert np.abs(got - PIXELS).max() <= 12  # what quality 95 may change in a steep ramp


def test_colour_picture_gives_red_green_blue_planes(tmp_path):
    rgb = np.stack([PIXELS, PIXELS + 1, PIXELS + 2], axis=2)
    got = load_picture(saved(tmp_path, Image.fromarray(rgb)), COLOUR)
    np.testing.assert_array_equal(got, rgb.transpose(2, 0, 1))
    assert got.flags.c_contiguous


def test_colour_picture_for_a_grey_model_is_its_luminance(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 1] = 200
    got = load_picture(saved(tmp_path, Image.fromarray(rgb)), GREY)
    assert np.unique(got).tolist() == [117]  # ITU-R 601: 0.587 · 200


def test_grey_picture_for_a_colour_model_has_three_equal_planes(tmp_path):
    got = load_picture(saved(tmp_path, Image.fromarray(PIXELS)), COLOUR)
    np.testing.assert_array_equal(got, np.stack([PIXELS] * 3))


def test_palette_picture_is_looked_up(tmp_path):
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:2, :, 0] = 255
    path = saved(tmp_path, Image.fromarray(rgb).convert("P"), "a.gif")
    np.testing.assert_array_equal(load_picture(path, COLOUR), rgb.transpose(2, 0, 1))


def test_sixteen_bit_picture_is_scaled_not_clipped(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS.astype(np.uint16) * 257))
    np.testing.assert_array_equal(load_picture(path, GREY)[0], PIXELS)


def test_dark_sixteen_bit_picture_stays_dark(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((4, 6), 200, np.uint16)))
    assert load_picture(path, GREY).max() <= 1


def test_float_picture_of_0_to_1_is_scaled(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS.astype(np.float32) / 255), "a.tiff")
    np.testing.assert_array_equal(load_picture(path, GREY)[0], PIXELS)


@pytest.mark.parametrize("value", [-1.0, 1e9, np.nan])
def test_float_picture_of_other_values_is_refused(tmp_path, value):
    path = saved(tmp_path, Image.fromarray(np.full((4, 6), value, np.float32)), "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: .*8 or 16 bits"):
        load_picture(path, GREY)


def test_cmyk_picture_is_converted(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "a.tiff")
    np.testing.assert_array_equal(load_picture(path, COLOUR)[:, 0, 0], [255, 0, 0])


@pytest.mark.parametrize(("background", "shown"), [(None, 255), (0.0, 0), (0.5, 128)])
def test_transparent_parts_show_the_background(tmp_path, background, shown):
    path = saved(tmp_path, Image.new("RGBA", (6, 4), (10, 10, 10, 0)))
    got = load_picture(path, GREY | {"background": background})
    assert np.unique(got).tolist() == [shown]


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(PIXELS)
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    path = saved(tmp_path, picture, exif=exif)
    np.testing.assert_array_equal(load_picture(path, GREY)[0], PIXELS[::-1, ::-1])


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((4, 6), v, np.uint8)) for v in (7, 99)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert np.unique(load_picture(path, GREY)).tolist() == [7]


def test_enlarged_picture_comes_back_as_it_was(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS.repeat(8, axis=0).repeat(8, axis=1)))
    np.testing.assert_array_equal(load_picture(path, GREY)[0], PIXELS)


def test_one_pixel_fills_the_input(tmp_path):
    path = saved(tmp_path, Image.new("L", (1, 1), 42))
    assert np.unique(load_picture(path, GREY)).tolist() == [42]


def test_invert_swaps_dark_and_light(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS))
    np.testing.assert_array_equal(load_picture(path, GREY, invert=True)[0], 255 - PIXELS)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"hello", b"\xff\xd8\xff\xe0" + b"\0" * 50])
def test_foreign_file_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png: "):
        load_picture(path, GREY)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tiff", "a.webp"])
def test_truncated_file_is_refused_or_whole(tmp_path, name):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, Image.registered_extensions()["." + name[2:]])
    data, path = buffer.getvalue(), tmp_path / name
    for size in range(0, len(data) - 30, max(1, len(data) // 40)):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=name):
            load_picture(path, GREY)


@pytest.mark.parametrize("side", [10_000, 50_000])  # Pillow warns of the first, refuses the second
def test_bomb_is_refused_without_unpacking(tmp_path, side):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") * 2)
    with pytest.raises(DataError, match=r"bomb\.png: declares more than .* pixels"):
        load_picture(path, GREY)


def test_folder_and_missing_file_are_named(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        load_picture(tmp_path, GREY)
    with pytest.raises(DataError, match=r"none\.png: cannot be read: No such file"):
        load_picture(tmp_path / "none.png", GREY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(tmp_path):
    path = saved(tmp_path, Image.fromarray(PIXELS))
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        load_picture(path, GREY)


def test_preprocessing_of_bytes():
    images = np.zeros((5, 3, 8, 9), np.uint8)
    images[:, :, 3, 3] = 255
    expected = {"channels": 3, "size": [8, 9], "divisor": 255, "background": 0.0}
    assert preprocessing_of(images) == expected
    assert check_preprocessing(expected) is expected


@pytest.mark.parametrize(
    ("low", "high", "divisor", "background"),
    [(0, 1, 255, 0.0), (0, 200, 1, 0.0), (-1, 1, None, None), (0, 1000, None, None)],
)
def test_preprocessing_of_floats_follows_their_range(low, high, divisor, background):
    images = np.zeros((2, 1, 4, 4), np.float32)
    images[:, :, 1, 1], images[:, :, 2, 2] = low, high
    found = preprocessing_of(images)
    assert (found["divisor"], found["background"]) == (divisor, background)


def test_background_is_unknown_where_borders_differ():
    images = np.zeros((10, 1, 4, 4), np.uint8)
    images[::2] = 255
    assert preprocessing_of(images)["background"] is None


def test_border_is_the_mean_of_the_outermost_pixels():
    image = np.full((1, 4, 4), 99, np.uint8)
    image[:, 1:3, 1:3] = 0
    assert border(image) == 99


@pytest.mark.parametrize(
    "change",
    [{"channels": 2}, {"channels": True}, {"size": [8]}, {"size": [0, 8]}, {"size": [8, 10**9]},
     {"size": "88"}, {"divisor": 0}, {"divisor": None}, {"background": 2}, {"background": "x"},
     {"channels": [1]}],
)  # fmt: skip
def test_senseless_preprocessing_is_refused(change):
    with pytest.raises(ValueError):
        check_preprocessing(GREY | change)


@pytest.mark.parametrize("found", [None, {}, [], {"size": [4, 6]}])
def test_missing_preprocessing_is_refused(found):
    with pytest.raises(ValueError, match="preprocessing"):
        check_preprocessing(found)


def test_blue_first_model_gets_the_planes_reversed(tmp_path):
    rgb = np.stack([PIXELS, PIXELS + 1, PIXELS + 2], axis=2)
    path = saved(tmp_path, Image.fromarray(rgb))
    got = load_picture(path, COLOUR | {"order": "BGR"})
    np.testing.assert_array_equal(got, rgb.transpose(2, 0, 1)[::-1])
    assert got.flags.c_contiguous


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_bilinear_model_looks_at_the_nearest_pixels_only(tmp_path, mode, channels):
    wide = np.zeros((4, 24), np.uint8)
    wide[:, 4::8] = 255  # a stripe in the fifth of every eight columns
    picture = Image.fromarray(wide).convert(mode)
    described = GREY | {"channels": channels, "size": [4, 3], "resize": "bilinear"}
    got = load_picture(saved(tmp_path, picture), described)
    # New column i lies at 8 i + 3.5, half-way between a dark column and a bright one.
    assert np.unique(got[0]).tolist() == [128]
    meant = load_picture(saved(tmp_path, picture), described | {"resize": "area"})
    assert np.unique(meant[0]).tolist() == [32]


@pytest.mark.parametrize(
    "odd", [{"order": "GBR"}, {"order": 3}, {"order": "BGR", "channels": 1}, {"resize": ["cubic"]}]
)
def test_unknown_order_or_resize_is_refused_by_name(odd):
    with pytest.raises(ValueError, match=f"preprocessing has {next(iter(odd))} "):
        check_preprocessing(COLOUR | odd)


def test_channel_order_of_arrays_follows_the_model():
    images = np.arange(12).reshape(2, 3, 1, 2)
    assert in_channel_order(images, COLOUR) is images
    np.testing.assert_array_equal(in_channel_order(images, {"order": "BGR"}), images[:, [2, 1, 0]])
