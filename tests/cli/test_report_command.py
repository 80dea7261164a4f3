"""report.html: written by train, also when it is stopped, and made anew by `minicnn report`."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.photos import make_photos, save_photo

import minicnn as mc
from minicnn.cli import reporting

from .conftest import FAST, blocks, only_object
from .test_resume import stop_at

PHOTOS = ("--epochs", "2", "--batch-size", "8", "--image-size", "16", "--quiet")


def shown(folder):
    """The words of a report."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


@pytest.fixture
def photo_run(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", 12)
    save_photo(Path("photos/red/odd name & more.png"), (20, 200, 30))  # green: a sure mistake
    for folder in ("red", "blue"):
        shutil.copy("photos/green/00.png", f"photos/{folder}/from green.png")
    assert command("train", "photos", "--arch", "cnn-s", *PHOTOS)[0] == 0
    return Path("runs/train-001")


def test_report_of_a_run_has_its_figures_and_its_command(run):
    text = shown(run)
    summary = json.loads((run / "summary.json").read_text())
    hits = round(summary["val_accuracy"] * 12)
    assert f"{hits} of 12;" in text and "of 12 validation images" in text
    assert "minicnn train data.npz --arch mlp --epochs 2" in text
    assert "low" in text and "6×6 grey" in text and "validation image" in text
    assert "Where it looks" not in text  # no convolution, no Grad-CAM


def test_report_command_makes_the_same_page_anew(run, command):
    before = (run / "report.html").read_bytes()
    files = {p.name: p.read_bytes() for p in run.iterdir() if p.name != "report.html"}
    (run / "report.html").unlink()
    code, out, err = command("report", run)
    assert (code, err) == (0, "") and str(run / "report.html") in out
    assert (run / "report.html").read_bytes() == before
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.name != "report.html"} == files
    result = only_object(command("report", run, "--json")[1])
    assert result == {"report": str(run / "report.html"), "bytes": len(before)}


def test_report_of_photos_names_files_and_shows_where_the_model_looks(photo_run):
    text, page = shown(photo_run), (photo_run / "report.html").read_text(encoding="utf-8")
    assert "Where it looks" in text
    assert re.search(r"(red|green|blue)/\S", text)
    assert "stretched to 16×16" in text
    assert page.count("<img ") >= 4 and "Grad-CAM of " in page


def test_report_and_data_json_tell_what_is_wrong_with_the_data(photo_run, command):
    text = shown(photo_run)
    assert "What is wrong with them" in text and "picture is in two classes" in text
    told = text.split("What is wrong with them")[1]
    assert all(name in told for name in ("blue/from green.png", "green/00.png", " = "))
    assert "the same pixels" in told
    assert "minicnn check" in text
    kept = json.loads((photo_run / "data.json").read_text())
    assert kept["summary"]["two_classes"] == 1 and kept["images"] == 39
    (finding,) = (f for f in kept["findings"] if f["kind"] == "two_classes")
    assert {"photos/blue/from green.png", "photos/red/from green.png"} < set(finding["items"])
    assert "near_duplicate" in kept["not_looked_for"]  # pictures of 16 pixels say too little


def test_training_notes_copies_that_make_its_figures_untrue(photo_run, command):
    code, _, err = command("train", "photos", "--arch", "cnn-s", *PHOTOS)
    assert code == 0 and "1 picture is in two classes (" in err and "from green.png" in err
    assert "minicnn check" in err
    for name in ("red/from green.png", "blue/from green.png", "red/odd name & more.png"):
        Path("photos", name).unlink()
    assert command("train", "photos", "--arch", "cnn-s", *PHOTOS)[2] == ""
    assert "in two classes" not in shown(Path("runs/train-003"))


@pytest.mark.parametrize(("long", "said"), [(39, True), (40, False)])
def test_training_says_that_it_looks_for_copies_where_that_takes_long(
    photo_run, command, monkeypatch, long, said
):
    monkeypatch.setattr("minicnn.cli.prepare.LONG", long)
    err = command("train", "photos", "--arch", "cnn-s", *PHOTOS[:-1])[2]
    assert ("  check   looking for copies among 39 photos\n" in err) is said


def test_copies_in_arrays_are_told_by_their_places(data, command):
    x, y = blocks()
    x[6] = x[3] = x[0]  # of the same class, whichever part they come into
    x[5] = x[4]  # of another class
    np.savez("copies.npz", x=x, y=y)
    err = command("train", "copies.npz", *FAST, "--quiet")[2]
    assert "1 picture is in two classes (" in err and "minicnn check" in err
    findings = json.loads(Path("runs/train-001/data.json").read_text())["findings"]
    assert {"train[4]", "train[5]"} in [set(f["items"]) for f in findings]
    assert {"train[0]", "train[3]", "train[6]"} in [set(f["items"]) for f in findings]


def test_report_pairs_each_photo_with_its_own_file(photo_run, command, monkeypatch):
    paths = []
    monkeypatch.setattr(reporting.report, "thumbnail", lambda path, _: paths.append(path))
    seen = []
    encode = reporting.report.encode
    monkeypatch.setattr(
        reporting.report, "encode", lambda image: seen.append(image) or encode(image)
    )
    assert command("report", photo_run)[0] == 0
    model = mc.load(photo_run / "model.safetensors")
    from minicnn.data.pictures import load_picture

    assert len(paths) == len(seen) > 5
    for path, image in zip(paths, seen, strict=True):
        assert np.array_equal(load_picture(path, model.preprocessing), image)


def test_report_of_photos_that_are_split_by_folders_is_about_the_test_part(
    tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 10), ("val", 5), ("test", 4)):
        make_photos(tmp_path / "photos" / part, count)
    assert command("train", "photos", "--arch", "mlp", *PHOTOS)[0] == 0
    text = shown(Path("runs/train-001"))
    assert "of 12 test images" in text and "accuracy, validation" in text
    shown_pictures, _, found = text.partition("What is wrong with them")
    assert "test/" in shown_pictures and "val/" not in shown_pictures
    assert "pictures are in two parts" in found and "training and validation and test" in found


def test_stopped_training_leaves_a_report_on_its_best_epoch(data, command, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)  # three steps an epoch
        assert (
            command("train", data, "--arch", "mlp", "--epochs", "9", "--batch-size", "16")[0] == 130
        )
    text = shown(Path("runs/train-001"))
    assert "stopped after 2 epochs of 9" in text
    assert command("train", "--resume", "--quiet")[0] == 0
    assert "stopped after" not in shown(Path("runs/train-001"))


def test_stopped_training_leaves_its_test_part_unseen(data, command, monkeypatch):
    x, y = blocks()
    np.savez("parts.npz", x=x, y=y, x_test=x[:30], y_test=y[:30])
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        assert command("train", "parts.npz", *FAST)[0] == 130
    assert "test image" not in shown(Path("runs/train-001"))
    assert command("report", "runs/train-001")[0] == 0
    assert "test image" not in shown(Path("runs/train-001"))
    assert command("train", "--resume", "--quiet")[0] == 0
    assert "of 30 test images" in shown(Path("runs/train-001"))


def test_a_second_ctrl_c_leaves_the_report_out(data, command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        patch.setattr("minicnn.cli.finish.write_report", interrupted)
        code, _, err = command("train", data, *FAST)
    assert code == 130 and "minicnn train --resume runs/train-001" in err
    assert not Path("runs/train-001/report.html").exists()


def test_report_finds_data_that_were_moved(run, command):
    page = (run / "report.html").read_bytes()
    Path("data.npz").rename("moved.npz")
    assert command("report", run)[0] == 3
    assert command("report", run, "moved.npz")[0] == 0
    assert (run / "report.html").read_bytes() != page  # it names the data


def test_report_notes_data_that_have_changed(run, command):
    x, y = blocks(seed=5)
    np.savez("data.npz", x=x, y=np.roll(y, 1), classes=np.array(["low", "mid", "top"]))
    code, _, err = command("report", run)
    assert code == 0 and "the data have changed since" in err


def test_report_refuses_data_of_other_classes_or_sizes(run, command):
    x, y = blocks()
    np.savez("other.npz", x=x, y=y, classes=np.array(["a", "b", "c"]))
    code, _, err = command("report", run, "other.npz")
    assert code == 3 and "the run's were (1, 6, 6) of 3 (low, mid, top" in err
    np.savez("small.npz", x=x[:, :, :5, :5], y=y, classes=np.array(["low", "mid", "top"]))
    assert command("report", run, "small.npz")[0] == 3


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("args.json", None), ("args.json", "{}"), ("results.csv", None), ("results.csv", "epoch\n"),
        ("results.csv", "epoch,val_accuracy\n1,x\n"), ("model.safetensors", None),
    ],
)  # fmt: skip
def test_report_of_a_damaged_run_ends_with_4(run, command, file, content):
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    code, _, err = command("report", run)
    assert code == 4 and len(err.splitlines()) == 1 and "Traceback" not in err


def test_float_images_that_no_file_gives_get_no_file_example(data, command):
    x, y = blocks()
    np.savez("float.npz", x=(x / 50.0 - 2).astype(np.float32), y=y)
    assert command("train", "float.npz", *FAST, "--quiet")[0] == 0
    text = shown(Path("runs/train-001"))
    assert "load_picture" not in text and "scaled as the training images were" in text


def test_report_says_why_a_training_ended_early(data, command):
    words = ("--arch", "mlp", "--epochs", "30", "--patience", "1", "--lr", "1e-9", "--quiet")
    assert command("train", data, *words)[0] == 0
    before = shown(Path("runs/train-001"))
    assert "The training ended after 2 epochs: val_loss has not improved" in before
    assert command("report", "runs/train-001")[0] == 0
    assert shown(Path("runs/train-001")) == before
