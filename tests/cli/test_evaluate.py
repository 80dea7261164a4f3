"""`minicnn evaluate`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc

from .conftest import FAST, blocks, only_object


def test_evaluate_run_alone_repeats_its_validation_accuracy(run, command):
    _, out, err = command("evaluate", run, "--json")
    result = only_object(out)
    summary = json.loads((run / "summary.json").read_text())
    assert (result["split"], result["images"]) == ("val", 12)
    assert result["accuracy"] == summary["val_accuracy"]
    assert result["loss"] == pytest.approx(summary["val_loss"])
    assert err == ""


def test_evaluate_figures_agree_with_a_count_by_hand(run, command):
    x, y = blocks(31, seed=7)
    np.savez("new.npz", x=x, y=y, classes=np.array(["low", "mid", "top"]))
    result = only_object(command("evaluate", run, "new.npz", "--json")[1])
    predicted = mc.load(run / "model.safetensors").predict(x)
    matrix = [[int(((y == i) & (predicted == j)).sum()) for j in range(3)] for i in range(3)]
    assert result["split"] == "all"
    assert result["confusion_matrix"] == matrix
    assert result["accuracy"] == float(np.mean(predicted == y))
    for k, row in enumerate(result["classes"]):
        assert row["images"] == sum(matrix[k])
        assert row["recall"] == pytest.approx(matrix[k][k] / sum(matrix[k]))
        column = sum(line[k] for line in matrix)
        assert row["precision"] == pytest.approx(matrix[k][k] / column if column else 0)


def test_evaluate_prints_accuracy_scores_and_matrix_on_stdout(run, command):
    code, out, err = command("evaluate", run, "data.npz", "--split", "all")
    assert (code, err) == (0, "")
    assert out.startswith("data      data.npz, all: 60 images\naccuracy  ")
    for word in ("precision", "recall", "F1", "low", "mid", "top", "rows: true class"):
        assert word in out


def test_evaluate_labels_are_matched_by_class_name(run, command):
    x, y = blocks(30, seed=7)
    names = np.array(["low", "mid", "top"])
    np.savez("same.npz", x=x, y=y, classes=names)
    np.savez("turned.npz", x=x, y=2 - y, classes=names[::-1])
    same, turned = (
        only_object(command("evaluate", run, name, "--json")[1])
        for name in ("same.npz", "turned.npz")
    )
    assert same["confusion_matrix"] == turned["confusion_matrix"]


@pytest.mark.parametrize("part", ["train", "val"])
def test_evaluate_parts_of_the_run_are_the_ones_it_was_trained_with(run, command, part):
    result = only_object(command("evaluate", run, "--split", part, "--json")[1])
    assert result["images"] == {"train": 48, "val": 12}[part]


def test_evaluate_prefers_the_test_part(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    x, y = blocks()
    np.savez("data.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    command("train", "data.npz", *FAST, "--quiet")
    result = only_object(command("evaluate", "runs/train-001", "--json")[1])
    assert (result["split"], result["images"]) == ("test", 9)


def test_evaluate_takes_a_model_file(run, command):
    shutil.copy(run / "model.safetensors", "alone.safetensors")
    result = only_object(command("evaluate", "alone.safetensors", "data.npz", "--json")[1])
    assert (result["split"], result["images"]) == ("all", 60)


def test_evaluate_model_file_without_data_is_a_usage_error(run, command):
    shutil.copy(run / "model.safetensors", "alone.safetensors")
    code, _, err = command("evaluate", "alone.safetensors")
    assert code == 2 and "DATA" in err


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_evaluate_part_that_other_data_do_not_have_ends_with_3(run, command, part):
    x, y = blocks(30)
    np.savez("new.npz", x=x, y=y, classes=np.array(["low", "mid", "top"]))
    code, _, err = command("evaluate", run, "new.npz", "--split", part)
    assert code == 3 and "--split all" in err


def test_evaluate_unknown_classes_end_with_3(run, command):
    x, y = blocks(30)
    np.savez("new.npz", x=x, y=y)  # classes 0, 1, 2
    code, _, err = command("evaluate", run, "new.npz")
    assert code == 3
    assert "the classes 0, 1, 2, which the model does not know; it knows low, mid, top" in err


def test_evaluate_images_of_another_size_end_with_3(run, command):
    x, y = blocks(30)
    np.savez("new.npz", x=x[..., :5], y=y, classes=np.array(["low", "mid", "top"]))
    code, _, err = command("evaluate", run, "new.npz")
    assert code == 3 and "(1, 6, 5)" in err and "(1, 6, 6)" in err


def test_evaluate_run_that_has_no_model_yet_says_how_to_continue(run, command):
    (run / "model.safetensors").unlink()
    code, _, err = command("evaluate", run)
    assert code == 4
    assert "minicnn train --resume" in err
    assert Path(run, "last.safetensors").exists()
