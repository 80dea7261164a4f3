"""A small data set that a small net learns in a blink, a trained run, and the command itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.cli import main

FAST = ("--arch", "mlp", "--epochs", "2", "--batch-size", "16")


def blocks(count=60, classes=3, seed=0):
    """Grey 6×6 images whose bright row tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = rng.integers(0, 60, (count, 1, 6, 6), dtype=np.uint8)
    x[np.arange(count), 0, 2 * y] += 180
    return x, y


@pytest.fixture
def real_pictures():
    """Asked for by the tests that want the pictures drawn."""


@pytest.fixture(autouse=True)
def cheap_pictures(request, monkeypatch):
    """Drawing takes longer than these trainings, and test_report.py covers it."""
    if "real_pictures" not in request.fixturenames:
        for name in ("draw_curves", "draw_confusion_matrix"):
            monkeypatch.setattr(f"minicnn.report.{name}", lambda *arguments: b"a picture")


@pytest.fixture
def real_pace():
    """Asked for by the tests that want the cost of a training timed."""


@pytest.fixture(autouse=True)
def no_pace(request, monkeypatch):
    """Tests that count training steps mean those of the training."""
    if "real_pace" not in request.fixturenames:
        monkeypatch.setattr("minicnn.cli.prepare.measure", lambda job: None)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """data.npz in the current folder, which is empty but for it; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DEBUG", raising=False)
    x, y = blocks()
    np.savez("data.npz", x=x, y=y, classes=np.array(["low", "mid", "top"]))
    return "data.npz"


@pytest.fixture
def run(data, capsys):
    """The folder of a trained run."""
    assert main(["train", data, *FAST, "--quiet"]) == 0
    capsys.readouterr()
    return Path("runs/train-001")


@pytest.fixture
def command(capsys):
    """Runs the command in this process: exit code, stdout, stderr."""

    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def start(*words, **environment):
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "minicnn", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def only_object(text):
    """The one JSON object that is all of stdout."""
    assert text.count("\n") == 1
    return json.loads(text)
