"""What a user may type for DATA."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import datasets
from minicnn.data import sources
from minicnn.data.dataset import Dataset
from minicnn.data.errors import DataError
from minicnn.data.sources import open_source

MNIST = Path(os.environ.get("MINICNN_DATA", "../shared/data"), "mnist")


def write_idx(folder, part, n, size=2, top=1):
    pixels = bytes(n * size * size)
    header = b"\0\0\x08\x03" + b"".join(k.to_bytes(4, "big") for k in (n, size, size))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels)
    labels = bytes(k % (top + 1) for k in range(n))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + n.to_bytes(4, "big") + labels
    )


def test_nothing_gives_the_digits():
    splits = open_source(None)
    assert splits.name == "digits" and len(splits.train.labels) == 1797
    assert splits.validation is None and splits.test is None


def test_folder_of_idx_files_gives_train_and_test(tmp_path):
    write_idx(tmp_path, "train", 4)
    write_idx(tmp_path, "t10k", 3, top=2)
    splits = open_source(tmp_path)
    assert len(splits.train.labels) == 4 and len(splits.test.labels) == 3
    assert splits.train.classes == splits.test.classes == ("0", "1", "2")


def test_folder_of_idx_files_without_a_test_part_gives_train(tmp_path):
    write_idx(tmp_path, "train", 4)
    assert open_source(str(tmp_path)).test is None


def test_parts_of_different_sizes_are_a_data_error(tmp_path):
    write_idx(tmp_path, "train", 4)
    write_idx(tmp_path, "t10k", 4, size=3)
    with pytest.raises(
        DataError, match=r"test images are uint8 \(1, 3, 3\), expected uint8 \(1, 2"
    ):
        open_source(tmp_path)


def test_npz_file_is_read_whatever_the_case_of_its_ending(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 3), np.uint8), y=[0, 1])
    os.rename(tmp_path / "a.npz", tmp_path / "A.NPZ")
    assert open_source(tmp_path / "A.NPZ").train.images.shape == (2, 1, 3, 3)


def fake_load_named(calls):
    def load_named(name, split, **options):
        calls.append((name, split, options))
        return Dataset(np.zeros((2, 1, 3, 3), np.uint8), np.array([0, 1]), ("a", "b"))

    return load_named


def test_known_name_is_downloaded_with_the_options_given(monkeypatch, tmp_path):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "load_named", fake_load_named(calls))
    splits = open_source("fashion-mnist", cache="c", base_url="u")
    assert splits.name == "fashion-mnist" and splits.test.classes == ("a", "b")
    options = {"cache": "c", "base_url": "u", "progress": None}
    assert calls == [("fashion-mnist", split, options) for split in ("train", "test")]


def test_folder_with_a_known_name_comes_before_the_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist", "train", 4)
    assert len(open_source("mnist").train.labels) == 4


def test_what_cannot_be_data_is_a_data_error_that_lists_what_can(tmp_path):
    known = "photos .*, a folder of IDX .*, an .npz .* mnist, fashion-mnist, cifar10, or nothing"
    with pytest.raises(DataError, match=f"nowhere: no such file or folder; data are {known}"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"no photos and no train-images-idx3-.* folder; .*{known}"):
        open_source(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=f"a.csv: expected a folder or an .npz file; .*{known}"):
        open_source(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_datasets_by_name_load_the_set_of_that_name(monkeypatch, name):
    calls = []
    monkeypatch.setattr(datasets, "load_named", fake_load_named(calls))
    getattr(datasets, name)("test")
    assert calls == [(name.replace("_", "-"), "test", {})]


def test_import_loads_nothing_that_only_some_sources_need():
    code = (
        "import sys, numpy; before = set(sys.modules)\n"
        "import minicnn.data, minicnn.datasets\n"
        "heavy = {'PIL', 'gzip', 'http.client', 'numpy.random', 'tarfile', 'urllib.request'}\n"
        "sys.exit(', '.join(heavy & (set(sys.modules) - before)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST files are not on this machine")
def test_mnist_folder_opens_as_a_source():
    splits = open_source(MNIST)
    assert splits.train.images.shape == (60000, 1, 28, 28) and len(splits.test.labels) == 10000
