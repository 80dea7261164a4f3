"""What the tests of training share: small nets, small data, and files as bytes."""

import csv
from pathlib import Path

import numpy as np

import minicnn as mc
from minicnn.training.history import TIMINGS


def digits(train=200, validation=80):
    """A few of the digits: ((x, y), (xv, yv))."""
    data = mc.datasets.load_digits()
    stop = train + validation
    return (data.images[:train], data.labels[:train]), (
        data.images[train:stop],
        data.labels[train:stop],
    )


def small_net(seed=0):
    """Every kind of state: weights, BatchNorm's statistics, Dropout's counter."""
    return mc.Sequential(
        mc.Conv2d(1, 4, 3, stride=2), mc.BatchNorm2d(4), mc.ReLU(), mc.Flatten(),
        mc.Dropout(0.25), mc.Linear(36, 10), seed=seed,
    )  # fmt: skip


def linear_net(seed=0):
    return mc.Sequential(mc.Flatten(), mc.Linear(64, 10), seed=seed)


def state_bytes(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def folder_bytes(folder: Path):
    """Every file's content, the timings in CSV files left out."""
    return {path.name: _content(path) for path in sorted(folder.iterdir())}


def _content(path: Path):
    if path.suffix != ".csv":
        return path.read_bytes()
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMINGS} for row in csv.DictReader(file)]


def with_nan(x, row):
    """A float copy of `x` with a NaN in one sample."""
    x = x.astype(np.float32) / 255
    x[row, 0, 0, 0] = np.nan
    return x
