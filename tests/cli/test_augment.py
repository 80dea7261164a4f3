"""--augment and --test-split: what is stored, what is shown, and what is judged on what."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn.cli import settings

from .conftest import FAST, only_object
from .test_photos import TINY, photos  # noqa: F401

RUN = Path("runs/train-001")


def read(name, run=RUN):
    return json.loads((run / name).read_text())


def test_augment_is_none_but_for_photos(data, photos, command):  # noqa: F811
    command("train", data, *FAST, "--quiet")
    command("train", photos, *TINY, "--quiet")
    assert read("args.json")["augment"] == "none"
    assert read("args.json", Path("runs/train-002"))["augment"] == "strong"


def test_augment_changes_the_training_and_not_what_is_evaluated(data, command):
    for name in ("none", "light", "strong", "strong"):
        command("train", data, *FAST, "--quiet", "--augment", name)
    models = [(Path(f"runs/train-00{k}") / "model.safetensors").read_bytes() for k in range(1, 5)]
    assert len(set(models[:3])) == 3 and models[2] == models[3]
    run = Path("runs/train-003")
    _, out, _ = command("evaluate", run, "--json")
    assert only_object(out)["accuracy"] == read("summary.json", run)["val_accuracy"]


def test_augment_shows_how_long_the_training_waited(data, command):
    _, out, err = command("train", data, *FAST, "--augment", "light", "--json")
    lines = [line for line in err.splitlines() if "val_acc" in line]
    assert len(lines) == 2 and all(" wait 0." in line for line in lines)
    assert "  time    0." in err and "the training waited 0." in err
    with open(RUN / "results.csv", newline="") as file:
        waits = [float(row["wait_seconds"]) for row in csv.DictReader(file)]
    assert only_object(out)["wait_seconds"] == pytest.approx(sum(waits)) and min(waits) > 0


def test_without_augment_nothing_is_said_of_waiting(data, command):
    _, _, err = command("train", data, *FAST)
    assert "wait" not in err


def test_augment_by_another_word_is_refused(data, command):
    code, _, err = command("train", data, *FAST, "--augment", "heavy")
    assert code == 2 and "none" in err and "light" in err and "strong" in err


def test_resume_with_another_augment_is_refused(data, command):
    command("train", data, *FAST, "--augment", "light", "--quiet")
    (RUN / "summary.json").unlink()
    code, _, err = command("train", "--resume", RUN, "--augment", "strong")
    assert code == 2 and "--augment strong (the run has light)" in err


# --- the test part -----------------------------------------------------------------------------


def test_test_split_is_kept_apart_and_judged_at_the_end(data, command):
    _, out, err = command("train", data, *FAST, "--test-split", "0.2", "--json")
    assert "(train 36 / val 12 / test 12)" in err
    accuracy = only_object(out)["test_accuracy"]
    assert accuracy == read("summary.json")["test_accuracy"]
    parts = {}
    for part in ("train", "val", "test", "all"):
        _, out, _ = command("evaluate", RUN, "--split", part, "--json")
        parts[part] = only_object(out)
    assert [parts[part]["images"] for part in parts] == [36, 12, 12, 60]
    assert parts["test"]["accuracy"] == accuracy
    assert parts["val"]["accuracy"] == read("summary.json")["val_accuracy"]
    _, out, _ = command("evaluate", RUN, "--json")
    assert only_object(out) == parts["test"]


def test_test_split_of_0_keeps_the_split_of_two_parts(data, command):
    command("train", data, *FAST, "--quiet")
    command("train", data, *FAST, "--quiet", "--test-split", "0")
    first, second = (Path(f"runs/train-00{k}/model.safetensors").read_bytes() for k in (1, 2))
    assert first == second and read("summary.json")["test_accuracy"] is None


def test_test_split_where_the_data_have_a_test_part_changes_nothing(tmp_path, command, data):
    x, y = np.load(data)["x"], np.load(data)["y"]
    np.savez("parts.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    _, _, err = command("train", "parts.npz", *FAST, "--test-split", "0.3")
    assert "(train 48 / val 12 / test 9)" in err


@pytest.mark.parametrize(
    ("enough", "counts"), [(36, "(train 28 / val 4 / test 4)"), (37, "(train 28 / val 8)")]
)
def test_many_photos_are_divided_into_three_parts(photos, command, monkeypatch, enough, counts):  # noqa: F811
    monkeypatch.setattr(settings, "ENOUGH", enough)
    _, _, err = command("train", photos, *TINY)
    assert counts in err


def test_shares_that_leave_nothing_to_train_on_are_refused(data, command):
    code, _, err = command("train", data, "--val-split", "0.6", "--test-split", "0.4")
    assert code == 2 and "--val-split 0.6 and --test-split 0.4 leave nothing" in err


def test_resumed_run_with_a_test_part_has_the_same_bytes(data, command, monkeypatch):
    words = ("train", data, *FAST, "--augment", "strong", "--test-split", "0.2", "--quiet")
    command(*words, "--out", "whole")
    good, calls = mc.Sequential.train_and_count, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return good(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mc.Sequential, "train_and_count", interrupted)
        assert command(*words, "--out", "parts")[0] == 130
    assert command("train", "--resume", "parts", "--quiet")[0] == 0
    for name in ("model.safetensors", "last.safetensors", "args.json", "summary.json"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()


# --- what is chosen for photos -----------------------------------------------------------------


def chosen(command, *words):
    _, out, _ = command("train", *words, "--dry-run", "--json")
    return only_object(out)["settings"]


def test_photos_get_a_recipe_of_their_own(data, photos, command, monkeypatch):  # noqa: F811
    names = ("epochs", "batch_size", "augment", "label_smoothing", "weight_decay")
    small = ("--arch", "mlp", "--image-size", "8")
    recipe = {name: chosen(command, photos, *small)[name] for name in names}
    assert recipe == dict(zip(names, (80, 32, "strong", 0.1, 0.05), strict=True))
    recipe = {name: chosen(command, data)[name] for name in names}
    assert recipe == dict(zip(names, (10, 64, "none", 0.0, 0.01), strict=True))
    monkeypatch.setattr(settings, "MANY", 36)
    assert chosen(command, photos, *small)["epochs"] == 20


def test_photos_with_another_optimizer_have_its_weight_decay(photos, command):  # noqa: F811
    sgd = chosen(command, photos, "--arch", "mlp", "--image-size", "8", "--optimizer", "sgd")
    assert (sgd["weight_decay"], sgd["lr"]) == (5e-4, 0.1)
