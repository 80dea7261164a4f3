"""`minicnn check`: a clean folder, and one that is spoiled in every way."""

import errno
import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from inspection.pictures import save_scenes, scene
from PIL import Image

from .conftest import only_object


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A clean folder of two classes in the current folder; returns its path."""
    monkeypatch.chdir(tmp_path)
    return save_scenes(Path("photos"))


def found(command, root, code=3):
    """kind -> list of (items, detail), relative to the root."""
    got, out, _ = command("check", root, "--json")
    assert got == code
    kinds = {}
    for finding in only_object(out)["findings"]:
        items = [os.path.relpath(item, root) if os.sep in item else item
                 for item in finding["items"]]  # fmt: skip
        kinds.setdefault(finding["kind"], []).append((items, finding["detail"]))
    return kinds


def write_bomb(path):
    """A PNG of a few bytes that says it has 50,000 × 50,000 pixels."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_clean_folder_ends_with_0(photos, command):
    code, out, err = command("check", photos)
    assert code == 0
    assert out.startswith("photos  24 usable pictures  2 classes\n\nclass  train\ncat       12\n")
    assert out.endswith("\nnothing is wrong\n")
    assert err == "  reading photos  24 files\n"
    assert only_object(command("check", photos, "--json")[1])["clean"] is True


def test_unreadable_files_of_every_kind_are_found(photos, command):
    whole = (photos / "cat/00.png").read_bytes()
    (photos / "cat/a.png").write_bytes(b"")
    (photos / "cat/b.png").write_bytes(whole[: len(whole) // 2])
    (photos / "cat/c.jpg").write_bytes(b"not a picture")
    write_bomb(photos / "cat/d.png")
    (photos / "cat/e.png").symlink_to("e.png")
    (photos / "cat/f").symlink_to(photos.absolute() / "cat")
    reasons = dict((items[0], detail) for items, detail in found(command, photos)["unreadable"])
    said = {
        "a.png": "empty (0 bytes)",
        "b.png": "truncated",
        "c.jpg": "not a picture",
        "d.png": "declares more than",
        "e.png": "symbolic links",
        "f": "never ends",
    }
    assert reasons.keys() == {f"cat/{name}" for name in said}
    for name, words in said.items():
        assert words in reasons[f"cat/{name}"]


def test_copies_of_every_kind_are_found(photos, command):
    shutil.copy(photos / "cat/00.png", photos / "cat/again.png")
    scene(1).save(photos / "cat/other.bmp")  # the pixels of cat/01.png in another format
    scene(2).resize((60, 45)).save(photos / "cat/small.jpg", quality=60)
    shutil.copy(photos / "dog/03.png", photos / "cat/wrong.png")
    scene(1004).resize((100, 75)).save(photos / "cat/wrong too.jpg")
    assert found(command, photos) == {
        "duplicate": [(["cat/00.png", "cat/again.png"], "the same file"),
                      (["cat/01.png", "cat/other.bmp"], "the same pixels")],
        "near_duplicate": [(["cat/02.png", "cat/small.jpg"], "almost the same picture")],
        "two_classes": [(["cat/wrong too.jpg", "dog/04.png"], "almost the same picture"),
                        (["cat/wrong.png", "dog/03.png"], "the same file")],
    }  # fmt: skip


def test_mirrored_and_cut_copies_are_found_and_told_apart(photos, command):
    scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "cat/flipped.jpg", quality=80)
    large = scene(1002).resize((400, 300), Image.Resampling.BICUBIC)
    large.crop((30, 22, 370, 278)).save(photos / "dog/cut.jpg")
    flipped = scene(1003).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(photos / "cat/dog 3 flipped.png")  # in another class: no finding
    assert found(command, photos) == {
        "near_duplicate": [
            (["cat/01.png", "cat/flipped.jpg"], "almost the same picture, mirrored"),
            (["dog/02.png", "dog/cut.jpg"], "almost the same picture, with its edges cut off"),
        ]
    }


def test_picture_in_two_parts_is_a_leak(photos, command, tmp_path):
    for part, first in (("train", 0), ("val", 100), ("test", 200)):
        save_scenes(Path("divided", part), first=first)
    shutil.copy("divided/train/cat/05.png", "divided/val/cat/05.png")
    scene(1006).save("divided/test/dog/x.jpg", quality=50)
    assert found(command, "divided") == {
        "two_parts": [(["train/cat/05.png", "val/cat/05.png"], "the same file"),
                      (["train/dog/06.png", "test/dog/x.jpg"], "almost the same picture")]
    }  # fmt: skip
    counts = only_object(command("check", "divided", "--json")[1])["counts"]
    assert list(counts) == ["train", "val", "test"] and counts["test"] == {"cat": 12, "dog": 13}


def test_turned_photo_is_the_same_pixels_as_the_upright_one(photos, command):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown a quarter turn to the right
    scene(0).transpose(Image.Transpose.ROTATE_90).save(photos / "cat/t.png", exif=turned)
    (copies,) = found(command, photos)["duplicate"]
    assert copies == (["cat/00.png", "cat/t.png"], "the same pixels")


def test_names_that_do_not_fit_the_content_are_found(photos, command):
    scene(50).save(photos / "cat/a.jpg", "PNG")
    scene(51).save(photos / "cat/b", "JPEG")
    (photos / "cat/notes.txt").write_text("no picture at all")
    assert (
        "passed over: 0 hidden files or folders, 1 file that is no picture\n"
        in command("check", photos)[1]
    )
    assert found(command, photos) == {
        "misnamed": [(["cat/a.jpg"], "is a PNG file"),
                     (["cat/b"], "is a JPEG file, and passed over because of its name")]
    }  # fmt: skip
    foreign = only_object(command("check", photos, "--json")[1])["passed_over"]["foreign"]
    assert foreign == ["photos/cat/notes.txt"]


def test_odd_pictures_are_found(photos, command):
    Image.new("RGB", (1, 1)).save(photos / "cat/dot.png")
    scene(60, (400, 90)).save(photos / "cat/wide.png")
    Image.new("RGB", (90, 90), (200, 10, 10)).save(photos / "cat/red.png")
    assert found(command, photos) == {
        "blank": [(["cat/dot.png"], "one colour"), (["cat/red.png"], "one colour")],
        "very_small": [(["cat/dot.png"], "1×1")],
        "very_long": [(["cat/wide.png"], "400×90")],
    }


def test_classes_that_are_empty_tiny_or_small_are_found(photos, command):
    (photos / "empty").mkdir()
    save_scenes(Path("more"), ("tiny", "large"), 3, first=5000)
    shutil.move("more/tiny", photos)
    assert found(command, photos) == {
        "empty_class": [(["empty"], "")],
        "tiny_class": [(["tiny"], "fewer than 10: 3")],
    }


def test_one_class_alone_is_an_error(photos, command):
    shutil.rmtree(photos / "dog")
    assert found(command, photos) == {"one_class": [(["cat"], "")]}


def test_text_says_what_which_files_and_what_to_do(photos, command):
    for k in range(12):
        (photos / f"cat/x{k:02d}.png").write_bytes(b"")
    shutil.copy(photos / "dog/03.png", photos / "cat/wrong.png")
    code, out, _ = command("check", photos)
    assert code == 3
    assert (
        "error: 12 files or folders cannot be read\n  photos/cat/x00.png: is empty (0 bytes); copy "
        "it again, or remove it\n" in out
    )
    assert "  and 2 more; --json lists all\n  -> copy them again or remove them;" in out
    assert (
        "error: 1 picture is in two classes\n  photos/cat/wrong.png: the same file\n"
        "    = photos/dog/03.png\n  -> decide which class is right" in out
    )
    assert out.endswith("\n13 errors and 0 warnings\n")


def test_many_copies_of_one_picture_are_one_finding(photos, command):
    for k in range(30):
        shutil.copy(photos / "cat/00.png", photos / f"cat/copy{k:02d}.png")
    code, out, _ = command("check", photos)
    assert code == 3 and "warning: 1 picture is there more than once\n" in out
    assert out.count("    = ") == 10 and "    = 21 more\n" in out


def test_threads_do_not_change_the_result(photos, command, keep_threads):
    shutil.copy(photos / "cat/00.png", photos / "cat/again.png")
    assert command("check", photos, "--threads", "1") == command("check", photos, "--threads", "3")


def test_check_of_arrays_finds_copies_and_clean_digits_end_with_0(photos, command):
    assert command("check")[0] == 0
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    x[3] = x[2]
    np.savez("data.npz", x=x, y=np.arange(40) % 2)
    code, out, _ = command("check", "data.npz", "--json")
    assert code == 3
    (finding,) = json.loads(out)["findings"]
    assert (finding["kind"], finding["items"]) == ("two_classes", ["train[2]", "train[3]"])


@pytest.mark.parametrize("root", ["nothing", "empty", "loose"])
def test_what_is_no_data_ends_with_3_and_says_why(photos, command, root):
    Path("empty").mkdir()
    Path("loose").mkdir()
    scene(0).save("loose/a.png")
    code, out, err = command("check", root)
    assert (code, out) == (3, "") and err.startswith(f"minicnn: error: {root}: ")


def test_file_without_permission_is_found(photos, command, monkeypatch):
    plain = open

    def refuse(path, *rest, **options):  # root may read everything, so the mode is not enough
        if str(path) == "photos/cat/00.png":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return plain(path, *rest, **options)

    monkeypatch.setattr("builtins.open", refuse)
    expected = [(["cat/00.png"], "cannot be read: Permission denied")]
    assert found(command, photos)["unreadable"] == expected
