"""NumPy archives as a source of data."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from minicnn.data.errors import DataError
from minicnn.data.npz import load_npz

X = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
Y = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def save(folder, compressed=True, **arrays):
    path = folder / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_x_and_y_become_the_training_part(tmp_path, compressed):
    splits = load_npz(save(tmp_path, compressed, x=X, y=Y))
    assert splits.name.endswith("data.npz") and splits.validation is splits.test is None
    assert np.array_equal(splits.train.images, X[:, np.newaxis])
    assert splits.train.images.dtype == np.uint8
    assert splits.train.labels.tolist() == Y.tolist() and splits.train.labels.dtype == np.int64
    assert splits.train.classes == ("0", "1", "2")


def test_all_parts_are_read_and_share_the_longest_list_of_classes(tmp_path):
    x = X[:, np.newaxis].repeat(3, axis=1)
    splits = load_npz(
        save(
            tmp_path, x_train=x, y_train=Y, x_val=x[:2], y_val=Y[:2], x_test=x[:3], y_test=Y[:3] + 7
        )
    )
    assert [len(part.labels) for part in splits[1:4]] == [6, 2, 3]
    assert {part.classes for part in splits[1:4]} == {tuple("0123456789")}
    assert splits.test.images.shape == (3, 3, 4, 5)


def test_classes_are_named_by_strings(tmp_path):
    splits = load_npz(save(tmp_path, x=X, y=Y, x_test=X, y_test=Y, classes=["a", "b", "\u732b"]))
    assert splits.train.classes == splits.test.classes == ("a", "b", "\u732b")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_floats_become_float32_unscaled(tmp_path, dtype):
    splits = load_npz(save(tmp_path, x=np.asfortranarray(X.astype(dtype)), y=Y))
    assert splits.train.images.dtype == np.float32
    assert np.array_equal(splits.train.images[:, 0], X)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "x without a counterpart; expected x and y, or x_train"),
        ({"x_test": X, "y_test": Y}, "nothing to train on without a counterpart"),
        ({"x": X, "y": Y, "x_valid": X}, "x_valid not understood; expected x and y"),
        ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "holds both x, y and x_train, y_train"),
        ({"x": X, "y": Y[:5]}, "x, y: labels must be as many as the samples, got 5 for 6"),
        ({"x": X, "y": Y.astype(float)}, "labels must be integers, got float64; use y.astype"),
        ({"x": X, "y": np.array(["a"] * 6)}, "integers, got <U1; number the classes"),
        ({"x": X, "y": Y.astype(int) - 1}, "y: labels must be in 0 ... 65535, got -1 ... 1"),
        ({"x": X.astype(int), "y": Y}, "x, y: images must be uint8 .* got int64; convert"),
        ({"x": X.reshape(6, 20), "y": Y}, r"expected \(N, H, W\) .* got \(6, 20\); use x.reshape"),
        ({"x": X[:, :0], "y": Y}, r"x: expected \(N, H, W\)"),
        ({"x": X[:0], "y": Y[:0]}, "the train part holds no samples"),
        ({"x": np.zeros((6, 8, 8, 3), np.uint8), "y": Y}, r"save x.transpose\(0, 3, 1, 2\)"),
        ({"x": np.full((6, 4, 5), np.nan), "y": Y}, "x: holds NaN or infinite values"),
        (
            {"x": X, "y": Y, "x_test": X[:, 1:], "y_test": Y},
            r"the test images are uint8 \(1, 3, 5\), expected uint8 \(1, 4, 5\)",
        ),
        ({"x": X, "y": Y, "x_test": X / 255, "y_test": Y}, "test images are float32 .* uint8"),
        ({"x": X, "y": Y, "classes": ["a", "b"]}, "classes must be 3 strings or more, got <U1"),
        ({"x": X, "y": Y, "classes": [1, 2, 3]}, "classes must be 3 strings or more, got int64"),
        ({"x": X, "y": Y, "classes": ["a", "b", "a"]}, "classes names a class twice: a, b, a"),
        ({"x": X, "y": np.array([object()] * 6)}, "y.npy: holds Python objects, which are never"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_a_data_error(tmp_path, arrays, message):
    path = save(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as error:
        load_npz(path)
    assert str(path) in str(error.value)


def test_colour_with_few_rows_is_taken_as_channels_first(tmp_path):
    x = np.zeros((6, 3, 5, 4), np.uint8)
    assert load_npz(save(tmp_path, x=x, y=Y)).train.images.shape == (6, 3, 5, 4)


def test_every_truncation_and_many_flips_are_a_data_error_or_the_same_data(tmp_path):
    path = save(tmp_path, x=X, y=Y)
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="data.npz: "):
            load_npz(path)
    random = np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        try:
            splits = load_npz(path)
        except DataError:
            continue
        # Flips in dates, attributes and the like leave the data alone; the CRC guards the rest.
        assert np.array_equal(splits.train.images[:, 0], X)


@pytest.mark.parametrize("shape", [(31,), (29,), (0,), (3, 8)])
def test_header_that_disagrees_with_the_member_is_refused(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(30))
    with pytest.raises(DataError, match=r"x.npy: its header declares uint8 .* got 158 packed in"):
        load_npz(tmp_path / "data.npz")


@pytest.mark.parametrize(
    "shape", [(2**40,), (2**31, 2**31, 4), (2**62, 2, 2), (-1, -30), (1 << 20, 64)]
)
def test_header_that_declares_too_much_is_refused_before_allocation(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(30))
    with pytest.raises(DataError):
        load_npz(path)  # warm imports
    tracemalloc.start()
    with pytest.raises(DataError, match=r"declares|data\.npz: "):
        load_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000


def test_missing_and_foreign_files_are_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no.npz: no such file"):
        load_npz(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="text.npz: cannot be read as an .npz archive: File is not"):
        load_npz(tmp_path / "text.npz")
