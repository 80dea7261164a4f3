"""The digits inside the package."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minicnn.data.digits import PATH, load_digits

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_digits.py"


def test_digits_have_their_shapes_types_and_class_sizes():
    images, labels, classes = load_digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == np.uint8
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert classes == tuple("0123456789")
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.min() == 0 and images.max() == 255


def test_digits_first_image_is_pinned_as_original_grey_values():
    grey = (16 * load_digits().images[0, 0].astype(int) + 127) // 255
    assert grey[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert grey.sum() == 294


def test_digits_are_new_arrays_at_every_call():
    load_digits().images[:] = 7
    assert load_digits().images[0, 0, 0, 0] == 0


def test_digits_equal_scikit_learns_copy():
    datasets = pytest.importorskip("sklearn.datasets")
    source, ours = datasets.load_digits(), load_digits()
    assert np.array_equal((16 * ours.images[:, 0].astype(int) + 127) // 255, source.images)
    assert np.array_equal(ours.labels, source.target)
    # Half a byte of rounding, as a share of the range.
    assert np.abs(ours.images[:, 0] / 255 - source.images / 16).max() <= 0.5 / 255 + 1e-12


def test_script_makes_the_stored_file_again(tmp_path, capsys):
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("make_digits", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    script.main(first)
    script.main(second)
    assert first.read_bytes() == second.read_bytes()
    # The members, not the archive: another build of zlib may pack the same bytes differently.
    with zipfile.ZipFile(first) as made, zipfile.ZipFile(PATH) as stored:
        assert made.namelist() == stored.namelist() == ["images.npy", "labels.npy"]
        for made_member, stored_member in zip(made.infolist(), stored.infolist(), strict=True):
            assert made_member.date_time == stored_member.date_time
            assert made.read(made_member) == stored.read(stored_member)


def test_stored_file_is_small_and_carries_its_attribution():
    assert Path(PATH).stat().st_size <= 60_000
    text = Path(PATH).with_suffix(".txt").read_text()
    for part in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert part in text
