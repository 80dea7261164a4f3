"""`minicnn train`: what it prints, writes and refuses."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn.engine import isa

from .conftest import FAST, blocks, only_object

FILES = {
    "args.json", "classes.json", "confusion_matrix.png", "curves.png", "data.json", "env.json",
    "last.safetensors", "model.safetensors", "report.html", "results.csv", "summary.json",
}  # fmt: skip


def test_train_on_arrays_fills_a_run_folder(data, command, real_pictures):
    code, out, err = command("train", data, *FAST)
    assert code == 0
    assert "saved   runs/train-001/   report  runs/train-001/report.html" in out
    assert {path.name for path in Path("runs/train-001").iterdir()} == FILES
    for name in ("curves.png", "confusion_matrix.png"):
        assert Path("runs/train-001", name).read_bytes().startswith(b"\x89PNG")


def test_train_prints_header_one_line_an_epoch_and_the_next_command(data, command):
    _, out, err = command("train", data, *FAST, "--threads", "1")
    lines = err.splitlines()
    assert lines[0] == "  data    data.npz  60 images  6×6 grey  3 classes  (train 48 / val 12)"
    assert lines[1] == f"  model   mlp  5,123 parameters  1 thread, {isa()}"
    assert lines[2].startswith("  cost    4,992 multiply-adds an image  ")
    assert [line.split()[:2] for line in lines[3:5]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert lines[3].endswith("*best")
    assert lines[5].startswith("  next    minicnn evaluate runs/train-001")
    assert len(lines) == 6
    assert len(out.splitlines()) == 2  # result, saved


def test_train_quiet_prints_the_result_only(data, command):
    _, out, err = command("train", data, *FAST, "--quiet")
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["result", "saved"]


def test_train_json_prints_one_object_with_the_figures(data, command):
    _, out, _ = command("train", data, *FAST, "--json")
    result = only_object(out)
    assert result["run"] == "runs/train-001"
    assert result["epochs"] == 2
    assert result["test_accuracy"] is None
    assert (
        result["val_accuracy"]
        == json.loads(Path("runs/train-001/summary.json").read_text())["val_accuracy"]
    )


def test_train_twice_makes_the_next_folder_and_leaves_the_first(run, command):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert "saved   runs/train-002/ " in command("train", "data.npz", *FAST, "--quiet")[1]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_train_twice_with_one_seed_makes_the_same_bytes(run, command):
    command("train", "data.npz", *FAST, "--quiet", "--threads", "2")
    for name in ("model.safetensors", "last.safetensors", "args.json", "summary.json"):
        assert (run / name).read_bytes() == Path("runs/train-002", name).read_bytes(), name


def test_train_with_another_seed_makes_another_model(run, command):
    command("train", "data.npz", *FAST, "--quiet", "--seed", "1")
    other = Path("runs/train-002/model.safetensors")
    assert (run / "model.safetensors").read_bytes() != other.read_bytes()


def test_train_out_that_is_occupied_is_refused(run, command):
    code, _, err = command("train", "data.npz", "--out", run)
    assert code == 2
    assert err == (
        f"minicnn: error: {run}: exists and is not an empty folder; give a new name with --out\n"
    )


def test_train_model_carries_classes_and_preprocessing(run):
    model = mc.load(run / "model.safetensors")
    assert model.classes == ["low", "mid", "top"]
    assert model.preprocessing["size"] == [6, 6]
    assert model.preprocessing["channels"] == 1
    assert json.loads((run / "classes.json").read_text()) == model.classes


def test_train_keeps_the_best_epoch_not_the_last(data, command):
    # Nothing can be learned from labels by lot, so the validation loss goes up and down.
    x, _ = blocks(200)
    np.savez("lot.npz", x=x, y=np.random.default_rng(1).integers(0, 3, 200))
    command("train", "lot.npz", "--arch", "mlp", "--epochs", "8", "--schedule", "constant",
            "--quiet", "--lr", "0.02")  # fmt: skip
    rows = list(csv.DictReader(Path("runs/train-001/results.csv").read_text().splitlines()))
    losses, accuracies = (
        [float(row[name]) for row in rows] for name in ("val_loss", "val_accuracy")
    )
    best = losses.index(min(losses))
    # Otherwise this test would show nothing.
    assert losses[-1] > min(losses) and accuracies[best] != max(accuracies)
    summary = json.loads(Path("runs/train-001/summary.json").read_text())
    assert summary["best_epoch"] == 1 + best
    assert summary["val_accuracy"] == pytest.approx(accuracies[best])
    page = Path("runs/train-001/report.html").read_text("utf-8")
    assert f"best epoch {1 + best}" in page


def test_train_seed_decides_the_order_of_the_samples_too(data, command, monkeypatch):
    seen = []
    fit = mc.Sequential.fit
    monkeypatch.setattr(
        mc.Sequential,
        "fit",
        lambda *a, **options: seen.append(options["seed"]) or fit(*a, **options),
    )
    command("train", data, *FAST, "--seed", "7")
    assert seen == [7]


def test_train_test_part_is_judged_at_the_end_only(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    x, y = blocks()
    np.savez("data.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    _, out, err = command("train", "data.npz", *FAST, "--json")
    assert only_object(out)["test_accuracy"] is not None
    assert "test 9" in err
    assert "test" not in "".join(line for line in err.splitlines() if "epoch" in line)


def test_train_settings_chosen_by_itself_are_written(run):
    settings = json.loads((run / "args.json").read_text())
    assert settings["data"] == str(Path("data.npz").resolve())
    assert (settings["optimizer"], settings["lr"]) == ("adamw", 0.005)
    assert settings["val_split"] == 0.2


def test_train_environment_names_versions_threads_and_command(run):
    found = json.loads((run / "env.json").read_text())
    assert found["minicnn"] == mc.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["threads"] == mc.get_num_threads()
    assert found["command"][:3] == ["minicnn", "train", "data.npz"]


def test_train_dry_run_shows_data_model_and_cost_and_writes_nothing(data, command):
    code, out, err = command("train", data, *FAST, "--dry-run")
    assert code == 0
    assert "5,123" in out and "Linear(in_features=36" in out
    assert "3 an epoch, 2 epochs" in out
    assert "60 images" in err
    assert not Path("runs").exists()


def test_train_dry_run_json_counts_the_work(data, command):
    _, out, _ = command("train", data, *FAST, "--dry-run", "--json")
    cost = only_object(out)["cost"]
    per_image = 36 * 128 + 128 * 3
    assert cost["multiply_adds_per_image"] == per_image
    assert cost["multiply_adds"] == 2 * per_image * (3 * 48 + 12)
    assert cost["parameters"] == 36 * 128 + 128 + 128 * 3 + 3
    assert 0 < cost["seconds_per_step"] < cost["seconds_per_epoch"] < 60


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "plateau", "constant"])
def test_train_every_optimizer_and_schedule_learns(data, command, optimizer, schedule):
    code, out, _ = command(
        "train", data, "--arch", "mlp", "--epochs", "8", "--batch-size", "8", "--json",
        "--optimizer", optimizer, "--schedule", schedule, "--lr", "0.02",
    )  # fmt: skip
    assert code == 0
    assert only_object(out)["val_accuracy"] == 1.0


def test_train_patience_stops_early(data, command):
    _, out, _ = command("train", data, "--arch", "mlp", "--epochs", "50", "--patience", "2",
                        "--json", "--lr", "0.02", "--batch-size", "8")  # fmt: skip
    result = only_object(out)
    assert result["epochs"] == result["best_epoch"] + 2 < 50


def test_train_options_of_the_loss_change_the_result(run, command):
    plain = (run / "model.safetensors").read_bytes()
    x, y = blocks()
    keep = (y != 2) | (np.arange(60) < 20)
    np.savez("uneven.npz", x=x[keep], y=y[keep])
    files = []
    for words in ((), ("--label-smoothing", "0.1"), ("--class-weight", "balanced"),
                  ("--clip-norm", "0.01")):  # fmt: skip
        command("train", "uneven.npz", *FAST, "--quiet", *words)
        files.append(sorted(Path("runs").iterdir())[-1].joinpath("model.safetensors").read_bytes())
    assert len({plain, *files}) == 5


def test_train_json_architecture_is_used(data, command):
    layers = [{"type": "Flatten"}, {"type": "Linear", "in_features": None, "out_features": 3}]
    Path("tiny.json").write_text(json.dumps(layers))
    code, _, err = command("train", data, "--arch", "tiny.json", "--epochs", "1")
    assert code == 0
    assert "tiny.json  111 parameters" in err


def test_train_without_matplotlib_succeeds_and_names_the_extra(
    data, command, monkeypatch, real_pictures
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = command("train", data, *FAST, "--quiet")
    assert code == 0
    assert err.startswith("minicnn: no pictures: ") and "[report]" in err
    assert {p.name for p in Path("runs/train-001").iterdir()} == FILES - {
        "curves.png", "confusion_matrix.png",
    }  # fmt: skip


@pytest.mark.slow
def test_train_without_arguments_reaches_97_percent_on_the_digits(data, command):
    code, out, _ = command("train", "--json")
    assert code == 0
    assert only_object(out)["val_accuracy"] >= 0.97
