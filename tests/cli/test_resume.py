"""`minicnn train --resume`: to the same bits as without a stop, or not at all."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from minicnn.sequential import Sequential

from .conftest import FAST, blocks, start

COMPARED = ("model.safetensors", "last.safetensors", "args.json", "classes.json", "summary.json")


def untimed(path):
    """results.csv without its last three columns, which are timings."""
    return [line.split(",")[:-3] for line in path.read_text().splitlines()]


def same_run(first, second):
    for name in COMPARED:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert untimed(first / "results.csv") == untimed(second / "results.csv")


def stop_at(monkeypatch, step):
    """Ctrl-C in training step number `step`."""
    good, calls = Sequential.train_and_count, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return good(self, *arguments, **options)

    monkeypatch.setattr(Sequential, "train_and_count", interrupted)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 7, 9])
@pytest.mark.parametrize("arch", ["mlp", "cnn-m"])
def test_resumed_run_equals_one_that_was_never_stopped(data, command, monkeypatch, step, arch):
    words = (
        "train",
        data,
        "--arch",
        arch,
        "--epochs",
        "3",
        "--batch-size",
        "16",
        "--patience",
        "2",
    )
    if arch == "cnn-m":  # dropout and batch normalisation, but few images
        x, y = blocks(18)
        np.savez(data, x=x, y=y)
        words = (*words[:-4], "--batch-size", "5")
    command(*words)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        assert command(*words)[0] == 130
    code, _, err = command("train", "--resume", "--threads", "2")
    assert code == 0
    same_run(Path("runs/train-001"), Path("runs/train-002"))


def test_resume_names_the_newest_run_by_default(run, command, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        command("train", "data.npz", *FAST)
    _, out, _ = command("train", "--resume")
    assert "runs/train-002/" in out


def test_resume_of_a_complete_run_reports_it_and_changes_nothing(run, command):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, out, err = command("train", "--resume", run)
    assert code == 0
    assert "complete" in err and "val_acc" in out
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def stopped_run(command, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert command("train", "data.npz", *FAST)[0] == 130
    return Path("runs/train-001")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--epochs", "3"), "--epochs 3 (the run has 2)"),
        (("--seed", "1"), "--seed 1 (the run has 0)"),
        (("--lr", "1"), "--lr 1.0 (the run has 0.005)"),
        (("--arch", "lenet"), "--arch lenet (the run has mlp)"),
        (("--out", "x"), "--out x"),
        (("--batch-size", "8", "--optimizer", "sgd"), "--optimizer sgd (the run has adamw)"),
    ],
)
def test_resume_with_other_options_is_refused(data, command, monkeypatch, words, named):
    folder = stopped_run(command, monkeypatch)
    code, _, err = command("train", "--resume", folder, *words)
    assert code == 2
    assert named in err
    assert len(err.splitlines()) == 2


def test_resume_with_the_same_options_is_accepted(data, command, monkeypatch):
    folder = stopped_run(command, monkeypatch)
    assert command("train", data, *FAST, "--resume", folder, "--quiet")[0] == 0


def test_resume_with_changed_data_is_refused(data, command, monkeypatch):
    folder = stopped_run(command, monkeypatch)
    before = (folder / "last.safetensors").read_bytes()
    x, y = blocks(seed=1)
    np.savez(data, x=x, y=y, classes=np.array(["low", "mid", "top"]))
    code, _, err = command("train", "--resume", folder)
    assert code == 4
    assert "data.sha256" in err
    assert (folder / "last.safetensors").read_bytes() == before


def test_resume_with_vanished_data_ends_with_3(data, command, monkeypatch):
    folder = stopped_run(command, monkeypatch)
    Path(data).unlink()
    assert command("train", "--resume", folder)[0] == 3


def test_resume_from_another_folder_finds_the_data(data, command, monkeypatch, tmp_path):
    folder = stopped_run(command, monkeypatch).resolve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("train", "--resume", folder, "--quiet")[0] == 0


def test_resume_without_runs_ends_with_4(data, command):
    code, _, err = command("train", "--resume")
    assert (code, err) == (4, "minicnn: error: runs/: holds no runs; name the run folder\n")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("args.json", b"{"),
        ("args.json", b"[1]"),
        ("args.json", b'{"format": 99}'),
        ("args.json", None),
        ("last.safetensors", b"x" * 100),
        ("last.safetensors", None),
    ],
)
def test_resume_of_a_damaged_run_ends_with_4(data, command, monkeypatch, file, content):
    folder = stopped_run(command, monkeypatch)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    code, _, err = command("train", "--resume", folder)
    assert code == 4
    assert 1 <= len(err.splitlines()) <= 2 and "Traceback" not in err


def test_resume_survives_a_changed_architecture_file(data, command, monkeypatch):
    layers = [{"type": "Flatten"}, {"type": "Linear", "in_features": None, "out_features": 3}]
    Path("a.json").write_text(json.dumps(layers))
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        command("train", data, "--arch", "a.json", "--epochs", "2", "--batch-size", "16")
    Path("a.json").unlink()
    assert command("train", "--resume", "--quiet")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "strong"])
def test_killed_runs_resume_to_the_same_bytes(data, command, augment):
    words = ("train", data, "--arch", "mlp", "--epochs", "40", "--batch-size", "16", "--quiet",
             "--augment", augment)  # fmt: skip
    command(*words)
    whole, killed = Path("runs/train-001"), Path("runs/train-002")
    rng = np.random.default_rng(0)
    process = start(*words)
    kills = 0
    while kills < 4 and not (killed / "summary.json").exists():
        while not (killed / "last.safetensors").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        kills += process.wait(timeout=60) == -signal.SIGKILL
        process.communicate()
        process = start("train", "--resume", killed, "--quiet")
        time.sleep(0.5)
    assert process.wait(timeout=100) == 0
    process.communicate()
    assert kills
    same_run(whole, killed)
