"""Photos from the command line: train, evaluate, predict and info on folders of them."""

import csv
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from data.photos import COLOURS, make_photos, save_photo

import minicnn as mc
from minicnn.cli import main
from minicnn.cli.photos import Decoding
from minicnn.data import image_folder

from .conftest import only_object
from .test_progress import become_terminal

TINY = ("--arch", "mlp", "--epochs", "2", "--batch-size", "8", "--image-size", "8")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of photos of three colours, in the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_DEBUG", raising=False)
    make_photos(tmp_path / "photos", 12)
    return "photos"


@pytest.fixture
def photo_run(photos, command):
    """The folder of a run on them."""
    assert command("train", photos, *TINY, "--quiet")[0] == 0
    return Path("runs/train-001")


def break_files(*paths):
    for path in paths:
        Path(path).write_bytes(b"no picture")


def test_train_on_photos_learns_the_colours(photos, command):
    code, out, err = command("train", photos, *TINY, "--epochs", "8")
    assert code == 0 and "val_acc 100.00 %" in out
    assert "  reading photos  36 files\n" in err
    assert "data    photos  36 images  8×8 colour  3 classes  (train 28 / val 8)" in err


def test_reading_shows_a_bar_on_a_terminal_that_is_gone_before_an_error(photos, monkeypatch):
    terminal = become_terminal(monkeypatch)
    break_files("photos/red/zz.jpg")
    assert main(["train", photos, *TINY]) == 3
    bar, error = terminal.getvalue().split("minicnn: error: ")
    assert "  reading photos  37 files:" in bar and "37/37" not in error
    assert bar.endswith(" \r")  # wiped out


def test_bar_is_wiped_out_when_reading_is_interrupted(photos, monkeypatch):
    terminal = become_terminal(monkeypatch)
    plain = Decoding.__call__

    def interrupt(self, root, done, total):
        plain(self, root, done, total)
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Decoding, "__call__", interrupt)
    assert main(["train", photos, *TINY]) == 130
    assert terminal.getvalue().endswith(" \rminicnn: stopped by Ctrl-C\n")


def test_photo_run_keeps_what_prediction_and_resuming_need(photo_run):
    settings = json.loads((photo_run / "args.json").read_text())
    assert (settings["image_size"], settings["on_error"]) == ("8x8", "raise")
    model = mc.load(photo_run / "model.safetensors")
    expected = {"channels": 3, "size": [8, 8], "divisor": 255, "background": None}
    assert model.preprocessing == expected and model.classes == sorted(COLOURS)


@pytest.mark.parametrize(
    ("options", "size"),
    [((), [3, 96, 96]), (("--arch", "seed"), [3, 224, 224]), (("--image-size", "20x30"), None)],
)
def test_image_size_follows_the_architecture_or_the_option(photos, command, options, size):
    _, out, _ = command("train", photos, "--dry-run", "--json", *options)
    settings = only_object(out)["settings"]
    assert settings["image_size"] == ("20x30" if size is None else f"{size[1]}x{size[2]}")
    assert settings["arch"] == ("seed" if "seed" in options else "cnn-m")


@pytest.mark.parametrize("size", ["0", "8x", "8x8x8", "5000", "axb", "8.5", "-8", ""])
def test_senseless_image_size_ends_with_2(photos, command, size):
    code, _, err = command("train", photos, "--image-size", size)
    assert code == 2 and "--image-size" in err and "expected HEIGHTxWIDTH" in err


@pytest.mark.parametrize(
    "option", [("--image-size", "8"), ("--on-error", "skip"), ("--allow-tiny",)]
)
def test_photo_option_without_photos_ends_with_2(photos, command, option):
    code, _, err = command("train", *option)
    assert code == 2 and f"{option[0]} would change nothing" in err


def test_train_stops_at_broken_files_and_names_them(photos, command):
    break_files("photos/red/zz.jpg", "photos/blue/zz.png")
    code, out, err = command("train", photos, *TINY)
    assert (code, out) == (3, "") and not Path("runs").exists()
    assert "minicnn: error: photos: 2 problems; " in err and "--on-error skip" in err
    assert "\n  photos/blue/zz.png: not a picture" in err and "\n  photos/red/zz.jpg: " in err


def test_train_skipping_lists_what_was_left_out_at_the_end(photos, command):
    break_files("photos/red/zz.jpg", "photos/blue/zz.png")
    code, _, err = command("train", photos, *TINY, "--on-error", "skip", "--quiet")
    assert code == 0
    lines = err.splitlines()
    assert lines[0] == "minicnn: 2 problems in the data, left out:"
    assert [line.split(": ")[1].strip() for line in lines[1:]] == [
        "photos/blue/zz.png", "photos/red/zz.jpg",
    ]  # fmt: skip


def test_train_json_lists_what_was_left_out(photos, command):
    break_files("photos/red/zz.jpg")
    _, out, _ = command("train", photos, *TINY, "--on-error", "skip", "--json", "--quiet")
    assert [entry["path"] for entry in only_object(out)["left_out"]] == ["photos/red/zz.jpg"]


def test_run_that_skipped_is_evaluated_on_the_same_split(photos, command):
    break_files("photos/green/03a.jpg")
    command("train", photos, *TINY, "--on-error", "skip", "--quiet")
    summary = json.loads(Path("runs/train-001/summary.json").read_text())
    code, out, err = command("evaluate", "runs/train-001", "--json")
    result = only_object(out)
    assert code == 0 and result["accuracy"] == summary["val_accuracy"]
    assert [entry["path"] for entry in result["left_out"]] == [
        os.path.abspath("photos/green/03a.jpg")
    ]
    assert "left out" in err


def test_resumed_photo_run_ends_with_the_same_bytes(photos, command, monkeypatch):
    command("train", photos, *TINY, "--quiet", "--out", "whole")
    from minicnn.cli.progress import Progress

    plain = Progress.on_epoch_end

    def stop(self, run):
        plain(self, run)
        if run.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_epoch_end", stop)
        assert command("train", photos, *TINY, "--out", "parts")[0] == 130
    code, _, err = command("train", "--resume", "parts")
    assert code == 0 and "reading" in err
    for name in ("model.safetensors", "last.safetensors"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    code, _, err = command("train", "--resume", "parts", "--image-size", "16")
    assert code == 2 and "--image-size 16x16 (the run has 8x8)" in err


def test_hidden_and_other_files_are_said_once(photos, command):
    save_photo(Path("photos/.git/a.png"), (0, 0, 0))
    Path("photos/red/notes.txt").write_text("x")
    _, _, err = command("train", photos, *TINY)
    assert err.count(".git") == 1 and "  hidden  .git passed over\n" in err
    assert "notes.txt: no pictures by their names" in err


def test_one_class_ends_with_3_and_hints_at_nested_folders(photos, command):
    code, _, err = command("train", ".", *TINY)  # cache/ and photos/ are not there yet, or hidden
    assert code == 3
    assert "all of one class" in err and "if the classes are the folders in ./photos" in err


def test_empty_class_ends_with_3(photos, command):
    Path("photos/cat").mkdir()
    code, _, err = command("train", photos, *TINY)
    assert code == 3 and "photos/cat: a class without a picture" in err
    assert command("train", photos, *TINY, "--on-error", "skip")[0] == 0


def test_class_of_one_picture_ends_with_3(photos, command):
    save_photo(Path("photos/cat/a.png"), (0, 0, 0))
    code, _, err = command("train", photos, *TINY)
    assert code == 3 and "one picture only of cat; a class needs two" in err
    assert not Path("runs").exists()


def test_class_of_two_pictures_ends_with_3_unless_allowed(photos, command):
    for k in range(2):
        save_photo(Path(f"photos/cat/{k}.png"), (0, 0, 0))
    code, out, err = command("train", photos, *TINY)
    assert (code, out) == (3, "") and not Path("runs").exists()
    assert "photos: fewer than 3 pictures of cat (2), too few" in err and "--allow-tiny" in err
    code, _, err = command("train", photos, *TINY, "--allow-tiny")
    assert code == 0 and "note: fewer than 10 pictures of cat (2)" in err


def test_class_of_three_pictures_is_trained_with_a_note(photos, command):
    for k in range(3):
        save_photo(Path(f"photos/cat/{k}.png"), (0, 0, 0))
    code, _, err = command("train", photos, *TINY)
    assert code == 0 and "note: fewer than 10 pictures of cat (3)" in err


def test_symlink_loop_ends_with_3(photos, command):
    Path("photos/red/again").symlink_to(Path("photos").absolute())
    Path("photos/blue/self.png").symlink_to("self.png")
    Path("photos/green/up").symlink_to(Path("photos/green").absolute())
    code, _, err = command("train", photos, *TINY)
    assert code == 3 and "photos/green/up: is a link to a folder that it is in" in err
    assert "blue/self.png: cannot be read: Too many levels" in err


def test_divided_photos_are_trained_and_tested_as_they_come(photos, command):
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        make_photos(Path("parts", part), count)
    _, out, err = command("train", "parts", *TINY)
    assert "(train 24 / val 9 / test 6)" in err and "test_acc" in out
    _, out, _ = command("evaluate", "runs/train-001", "--json")
    assert (only_object(out)["split"], only_object(out)["images"]) == ("test", 6)


def test_other_photos_are_judged_in_the_size_of_the_model(photo_run, command):
    make_photos(Path("others"), 2)
    (Path("others") / "green" / "00.png").rename("others/green/.00.png")
    code, out, _ = command("evaluate", photo_run, "others", "--json")
    assert code == 0 and only_object(out)["images"] == 5


def test_class_weights_apply_to_photos(photos, command):
    for path in sorted(Path("photos/red").iterdir())[3:]:
        path.unlink()
    command("train", photos, *TINY, "--quiet", "--out", "plain")
    code, _, _ = command(
        "train", photos, *TINY, "--quiet", "--out", "balanced", "--class-weight", "balanced"
    )
    assert code == 0
    files = [Path(name, "model.safetensors").read_bytes() for name in ("plain", "balanced")]
    assert files[0] != files[1]


def test_photos_beyond_the_memory_train_to_the_same_model(photos, command, monkeypatch):
    command("train", photos, *TINY, "--quiet", "--out", "memory")
    monkeypatch.setattr(image_folder, "MEMORY", 1000)
    assert command("train", photos, *TINY, "--quiet", "--out", "disk")[0] == 0
    files = [Path(name, "model.safetensors").read_bytes() for name in ("memory", "disk")]
    assert files[0] == files[1]
    assert command("evaluate", "disk", "--split", "all")[0] == 0


def test_full_disk_while_reading_ends_with_6(photos, command, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_folder, "MEMORY", 1000)
    monkeypatch.setattr(os, "fsync", fsync)
    code, _, err = command("train", photos, *TINY)
    assert code == 6 and "No space left on device; make room" in err


def test_info_on_photos_counts_them_and_lists_problems(photos, command):
    break_files("photos/red/zz.jpg")
    code, out, err = command("info", photos)
    assert code == 0 and "36 images" in out and "photos/red/zz.jpg" in err
    assert len(only_object(command("info", photos, "--json")[1])["left_out"]) == 1


def test_predict_on_a_folder_answers_every_picture_in_order(photo_run, photos, command):
    code, out, err = command("predict", photo_run, photos, "photos/red/00.png", "--json")
    result = only_object(out)
    expected = [str(path) for path in sorted(Path("photos").rglob("*.*"))] + ["photos/red/00.png"]
    assert (code, err) == (0, "")
    assert [answer["path"] for answer in result["predictions"]] == expected


def test_predict_on_the_folder_agrees_with_the_model_on_the_training_images(
    photo_run, photos, command
):
    images = mc.datasets.ImageFolder(photos, 8).images
    expected = mc.load(photo_run / "model.safetensors").predict_proba(images)
    _, out, _ = command("predict", photo_run, photos, "--top", "3", "--json")
    for row, answer in zip(expected, only_object(out)["predictions"], strict=True):
        got = {entry["class"]: entry["probability"] for entry in answer["top"]}
        # Batches of another size may add up in another order.
        np.testing.assert_allclose([got[name] for name in sorted(got)], row, atol=1e-6)


def test_predict_folder_problems_are_told_and_end_with_3(photo_run, photos, command):
    break_files("photos/red/05.jpg")
    Path("photos/up").symlink_to(Path("photos").absolute())
    Path("photos/notes.txt").write_text("x")
    Path("empty").mkdir()
    code, out, err = command("predict", photo_run, photos, "empty", "--json")
    result = only_object(out)
    assert code == 3 and len(result["predictions"]) == 35
    assert sorted(entry["path"] for entry in result["errors"]) == [
        "empty", "photos/red/05.jpg", "photos/up",
    ]  # fmt: skip
    assert "empty: holds no pictures" in err and "1 passed over" in err and "notes.txt" in err


def test_predict_decodes_only_a_little_ahead(photo_run, photos, command, monkeypatch):
    from minicnn.data import decoding

    opened = []
    plain = decoding.decode_picture
    monkeypatch.setattr(decoding, "AHEAD", 2)
    monkeypatch.setattr(
        decoding, "decode_picture", lambda path, *rest: opened.append(path) or plain(path, *rest)
    )
    stream = decoding.decode_in_order(iter(["photos/red/00.png"] * 1000), {
        "channels": 3, "size": [8, 8], "divisor": 255, "background": None,
    })  # fmt: skip
    next(stream)
    stream.close()
    assert len(opened) <= 2 * mc.get_num_threads() + 1


def test_predict_threshold_answers_unsure(photo_run, command):
    name = "photos/red/00.png"
    _, out, _ = command("predict", photo_run, name, "--threshold", "1")
    assert out.startswith(f"{name}  unsure:  ")
    _, out, _ = command("predict", photo_run, name, "--threshold", "0")
    assert "unsure" not in out


def test_predict_threshold_in_json_and_csv(photo_run, command):
    name = "photos/red/00.png"
    for threshold, sure in (("1", False), ("0", True)):
        words = ("predict", photo_run, name, "--threshold", threshold)
        answer = only_object(command(*words, "--json")[1])["predictions"][0]
        assert answer["sure"] is sure
        assert answer["class"] == (answer["top"][0]["class"] if sure else "unsure")
        row = next(csv.DictReader(io.StringIO(command(*words, "--csv")[1])))
        assert row["answer"] == answer["class"] and row["class_1"] == answer["top"][0]["class"]


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "50%"])
def test_predict_senseless_threshold_ends_with_2(photo_run, command, threshold):
    assert command("predict", photo_run, "a.png", "--threshold", threshold)[0] == 2
