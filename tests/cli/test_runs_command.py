"""`minicnn runs`: the table, two runs side by side, and what is damaged."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import FAST, blocks, only_object


@pytest.fixture
def runs(data, command):
    """Three runs, the third on other data; returns their folder."""
    x, y = blocks(seed=1)
    np.savez("other.npz", x=x, y=y)
    for words in ((data,), (data, "--epochs", "3", "--optimizer", "sgd"), ("other.npz",)):
        assert command("train", *words[:1], *FAST, "--quiet", *words[1:])[0] == 0
    return Path("runs")


def set_accuracy(run, accuracy, loss=1.0):
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"val_accuracy": accuracy, "val_loss": loss}
    (run / "summary.json").write_text(json.dumps(summary))


def rows_of(out):
    head, *rows = out.splitlines()
    assert head.startswith("run ") and "val %  test %  val loss  ECE %" in head
    return rows


def test_runs_are_sorted_by_data_and_accuracy_and_the_best_is_marked(runs, command):
    for name, accuracy in (("train-001", 0.5), ("train-002", 0.75), ("train-003", 0.9)):
        set_accuracy(runs / name, accuracy)
    code, out, err = command("runs")
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert [row.split()[0] for row in rows] == ["train-002", "train-001", "train-003"]
    assert [row.endswith("*best") for row in rows] == [True, False, False]  # alone is not best
    assert rows[0].split()[1:3] == ["data.npz", "mlp"] and rows[0].split()[3].endswith("/3")
    assert " 75.00 " in rows[0]


def test_runs_of_equal_accuracy_are_sorted_by_their_loss(runs, command):
    set_accuracy(runs / "train-001", 0.5, loss=0.2)
    set_accuracy(runs / "train-002", 0.5, loss=0.3)
    names = [row.split()[0] for row in rows_of(command("runs", runs)[1])]
    assert names[:2] == ["train-001", "train-002"]


def test_runs_as_json_have_figures_and_settings(runs, command):
    found = only_object(command("runs", "--json")[1])
    assert found["damaged"] == [] and len(found["runs"]) == 3
    by_name = {entry["run"]: entry for entry in found["runs"]}
    second = by_name["runs/train-002"]
    summary = json.loads((runs / "train-002/summary.json").read_text())
    assert {name: second[name] for name in summary} == summary
    assert {"temperature", "calibration_error", "calibration_error_before"} < summary.keys()
    assert second["settings"]["optimizer"] == "sgd" and second["parameters"] == 5123
    assert second["complete"] is True and second["seconds"] > 0 and second["started"][:2] == "20"
    assert sum(entry["best"] for entry in found["runs"]) == 1


def test_unfinished_run_shows_what_it_has_so_far_and_is_not_best(runs, command):
    shutil.copytree(runs / "train-002", runs / "train-004")
    (runs / "train-001/summary.json").unlink()
    set_accuracy(runs / "train-002", 0.1)
    rows = {row.split()[0]: row for row in rows_of(command("runs")[1])}
    assert rows["train-001"].endswith("not complete")
    assert rows["train-001"].index("not complete") == rows["train-004"].index("*best")
    entries = only_object(command("runs", "--json")[1])["runs"]
    (entry,) = (entry for entry in entries if entry["run"] == "runs/train-001")
    assert entry["epochs"] == 2 and 0 <= entry["val_accuracy"] <= 1 and not entry["best"]
    log = (runs / "train-001/results.csv").read_text().splitlines()
    losses = [float(row["val_loss"]) for row in csv.DictReader(log)]
    assert entry["val_loss"] == min(losses)  # as the weights that are kept


def test_table_shows_temperature_and_calibration_error(runs, command):
    summary = json.loads((runs / "train-002/summary.json").read_text())
    summary |= {"temperature": 1.6543, "calibration_error": 0.0321}
    (runs / "train-002/summary.json").write_text(json.dumps(summary))
    (row,) = rows_of(command("runs", runs / "train-002")[1])
    assert " 3.21  1.65 " in row
    side = command("runs", runs / "train-001", runs / "train-002")[1]
    for name in ("temperature", "calibration_error", "calibration_error_before"):
        assert f"\n{name}  " in side
    assert " 3.21 %\n" in side


def test_run_of_before_calibration_is_shown_without_it(runs, command):
    summary = json.loads((runs / "train-002/summary.json").read_text())
    old = {k: v for k, v in summary.items() if not k.startswith(("calibration", "temperature"))}
    (runs / "train-002/summary.json").write_text(json.dumps(old))
    (row,) = rows_of(command("runs", runs / "train-002")[1])
    assert " -  - " in row
    (entry,) = only_object(command("runs", runs / "train-002", "--json")[1])["runs"]
    assert entry["temperature"] is None and entry["calibration_error"] is None


@pytest.mark.parametrize("width", [70, 80, 100, 200])
def test_table_fits_a_terminal(runs, command, monkeypatch, width):
    shutil.move(runs / "train-003", runs / "a-run-with-a-name")
    whole = rows_of(command("runs")[1])
    assert max(map(len, whole)) <= 110
    monkeypatch.setattr("minicnn.cli.runs.sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = command("runs")[1].splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("run ") and "val %  test %" in lines[0] and "ECE %" in lines[0]
    assert ("started" in lines[0]) == (width == 200 or width >= max(map(len, whole)))


def test_one_run_and_a_folder_given_by_name(runs, command):
    assert len(rows_of(command("runs", runs / "train-002")[1])) == 1
    shutil.move("runs", "elsewhere")
    assert len(rows_of(command("runs", "elsewhere")[1])) == 3


def damage(run, kind):
    """Spoil one file of a run; the name of it."""
    name = kind.partition(" ")[0]
    file = run / name
    if kind.endswith("missing"):
        file.unlink()
    elif kind.endswith("cut"):
        file.write_bytes(file.read_bytes()[:-10])
    elif kind.endswith("tampered"):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    elif kind.endswith("newer"):
        file.write_text(file.read_text().replace('"format": 1', '"format": 99'))
    elif kind.endswith("no number"):
        file.write_text(file.read_text().replace("val_loss", "loss of val"))
    elif kind.endswith("NaN"):
        file.write_text(file.read_text().replace('"val_loss": ', '"val_loss": NaN, "old": '))
    elif kind.endswith("nan"):
        file.write_text(file.read_text() + "9,nan,nan,nan,nan,nan,nan,nan\n")
    return name


DAMAGES = [
    "args.json missing", "args.json cut", "args.json newer", "summary.json cut",
    "summary.json no number", "summary.json NaN", "results.csv no number", "results.csv nan",
    "model.safetensors missing", "model.safetensors cut", "model.safetensors tampered",
    "env.json cut",
]  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_run_is_named_and_the_others_are_shown(runs, command, kind):
    name = damage(runs / "train-002", kind)
    code, out, err = command("runs")
    assert code == 0 and len(rows_of(out)) == 2
    assert err.startswith("minicnn: note: left out: runs/train-002/") and name in err
    (entry,) = only_object(command("runs", "--json")[1])["damaged"]
    assert entry["run"] == "runs/train-002" and name in entry["error"]
    assert command("runs", runs / "train-001", runs / "train-002")[0] == 4


def test_empty_run_folder_is_damaged_and_foreign_folders_are_ignored(runs, command):
    (runs / "train-009").mkdir()
    (runs / "notes").mkdir()
    code, out, err = command("runs")
    assert code == 0 and len(rows_of(out)) == 3
    assert err.count("\n") == 1 and "runs/train-009/: holds no args.json" in err


@pytest.mark.parametrize("words", [(), ("nothing",), ("empty",), ("data.npz",)])
def test_no_runs_end_with_4(data, command, words):
    Path("empty").mkdir()
    code, out, err = command("runs", *words)
    assert (code, out) == (4, "") and "name a" in err


def test_two_runs_side_by_side_show_the_settings_that_differ(runs, command):
    code, out, _ = command("runs", runs / "train-001", runs / "train-002")
    assert code == 0
    differ, results = out.split("\n\n")[:2]
    lines = differ.splitlines()
    assert lines[0] == "settings that differ"
    assert lines[1].split() == ["runs/train-001", "runs/train-002"]
    assert [line.split() for line in lines[2:]] == [
        ["epochs", "2", "3"], ["optimizer", "adamw", "sgd"], ["lr", "0.005", "0.1"],
        ["weight_decay", "0.01", "0.0005"],
    ]  # fmt: skip
    assert results.startswith("results\n") and "\nparameters      " in results
    found = only_object(command("runs", runs / "train-001", runs / "train-002", "--json")[1])
    assert found["settings_that_differ"] == ["epochs", "optimizer", "lr", "weight_decay"]
    assert [entry["run"] for entry in found["runs"]] == ["runs/train-001", "runs/train-002"]


def test_runs_with_the_same_settings_are_said_to_be_so(runs, command):
    shutil.copytree(runs / "train-001", runs / "again")
    out = command("runs", runs / "train-001", runs / "again")[1]
    assert out.startswith("all settings are the same\n")
