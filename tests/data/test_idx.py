"""IDX files: every type, every way to be broken, and the real MNIST."""

import gzip
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn.data.errors import DataError
from minicnn.data.idx import find_idx, load_idx, load_mnist

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MNIST = Path(os.environ.get("MINICNN_DATA", "../shared/data"), "mnist")


def encode(array):
    """`array` in the IDX format."""
    kind = array.dtype.str[1:]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return header + array.astype(f">{kind}").tobytes()


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_is_read_in_native_byte_order(tmp_path, kind, pack):
    array = (np.arange(2 * 3 * 5) * 7.25 - 20).reshape(2, 3, 5).astype("i1").astype(kind)
    # The name says nothing: gzip is recognised by its first bytes.
    out = load_idx(write(tmp_path, "anything", pack(encode(array))))
    assert out.dtype == array.dtype and out.dtype.isnative
    assert np.array_equal(out, array)
    assert out.flags.c_contiguous and out.flags.writeable


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_truncation_is_a_data_error(tmp_path, pack):
    content = pack(encode(np.arange(12, dtype=np.int16).reshape(3, 4)))
    path = tmp_path / "cut"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="cut: "):
            load_idx(path)
    path.write_bytes(content)
    assert load_idx(path).shape == (3, 4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 2**16), value=st.integers(0, 255), zipped=st.booleans())
def test_any_changed_byte_gives_an_array_of_the_files_size_or_a_data_error(
    tmp_path, position, value, zipped
):
    content = encode(np.arange(12, dtype=np.uint8).reshape(3, 4))
    content = bytearray(gzip.compress(content) if zipped else content)
    content[position % len(content)] = value
    try:
        out = load_idx(write(tmp_path, "changed", bytes(content)))
    except DataError:
        return
    assert out.nbytes <= 24


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_byte_too_many_is_a_data_error(tmp_path, pack):
    path = write(tmp_path, "long", pack(encode(np.zeros((2, 2), np.uint8)) + b"\0"))
    with pytest.raises(DataError, match=r"declares 2x2 uint8, which takes 16 bytes, got "):
        load_idx(path)


@pytest.mark.parametrize(
    "sizes",
    [
        (0,),
        (0, 2**32 - 1),
        (2**32 - 1,),
        (2**31, 2**31, 4),  # 2**64: wraps to 0 in 64 bits
        (2**32 - 1,) * 8,
        (2**31 + 1, 1),
        (1 << 20, 1 << 10),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_hostile_sizes_are_refused_before_anything_is_allocated(tmp_path, sizes, pack):
    header = struct.pack(f">BBBB{len(sizes)}I", 0, 0, 0x0E, len(sizes), *sizes)
    path = write(tmp_path, "hostile", pack(header + bytes(64)))
    load_idx(write(tmp_path, "good", pack(encode(np.zeros(3, np.uint8)))))  # warm imports
    tracemalloc.start()
    with pytest.raises(DataError, match="hostile: .*(holds no data|got )"):
        load_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000


def test_gzip_bomb_is_read_no_further_than_the_declared_size(tmp_path):
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = pack.compress(encode(np.zeros(1000, np.uint8)))
    for _ in range(64):
        bomb += pack.compress(bytes(1 << 20))
    path = write(tmp_path, "bomb", bomb + pack.flush())
    tracemalloc.start()
    with pytest.raises(DataError, match="takes 1008 bytes, got more"):
        load_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # of 64 MiB


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it starts with nothing"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file: it starts with 89 50 4e 47"),
        (b"\0\0\x0a\x01", "not an IDX file: it starts with 00 00 0a 01, expected 00 00, a type"),
        (b"\0\0\x08\x00", "0 dimensions declared, expected 1 ... 8"),
        (b"\0\0\x08\xff" + bytes(2000), "255 dimensions declared"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends inside its header, after 8 bytes"),
        (b"\x1f\x8b", "gzip data are damaged or cut short"),
        (b"\x1f\x8b\x08\x00garbage that is no deflate stream", "gzip data are damaged"),
    ],
)
def test_foreign_file_is_named_with_what_it_holds(tmp_path, content, message):
    path = write(tmp_path, "foreign", content)
    with pytest.raises(DataError, match=message) as error:
        load_idx(path)
    assert str(path) in str(error.value)


def test_path_that_cannot_be_read_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="missing: cannot be read as an IDX file: No such file"):
        load_idx(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot be read as an IDX file: Is a directory"):
        load_idx(tmp_path)


def make_set(folder, names, n=6, shape=(5, 7), top=3, pack=bytes):
    images = np.arange(n * np.prod(shape), dtype=np.uint8).reshape(n, *shape)
    labels = (np.arange(n) % (top + 1)).astype(np.uint8)
    write(folder, names[0], pack(encode(images)))
    write(folder, names[1], pack(encode(labels)))
    return images, labels


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")),
        ("train", ("train-images.idx3-ubyte", "train-labels.idx1-ubyte")),
        ("test", ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")),
        (
            "test",
            ("emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
        ),
    ],
)
def test_set_is_found_under_every_spelling(tmp_path, split, names):
    pack = gzip.compress if names[0].endswith(".gz") else bytes
    images, labels = make_set(tmp_path, names, pack=pack)
    data = load_mnist(tmp_path, split)
    assert np.array_equal(data.images, images[:, np.newaxis]) and data.images.dtype == np.uint8
    assert np.array_equal(data.labels, labels) and data.labels.dtype == np.int64
    assert data.classes == ("0", "1", "2", "3")
    assert list(find_idx(str(tmp_path))) == [split]


def test_colour_set_of_four_dimensions_keeps_its_channels(tmp_path):
    make_set(tmp_path, ("train-images-idx4-ubyte", "train-labels-idx1-ubyte"), shape=(3, 4, 5))
    assert load_mnist(tmp_path).images.shape == (6, 3, 4, 5)


def test_unpacked_file_is_preferred_to_its_gzipped_copy(tmp_path):
    make_set(tmp_path, ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), n=2)
    write(tmp_path, "train-images-idx3-ubyte.gz", b"broken")
    assert len(load_mnist(tmp_path).labels) == 2


def test_missing_split_lists_what_was_looked_for(tmp_path):
    make_set(tmp_path, ("train-images-idx3-ubyte", "unrelated"))
    with pytest.raises(DataError, match="no train files; looked for train-images-idx3-ubyte"):
        load_mnist(tmp_path)
    with pytest.raises(DataError, match="no test files; looked for t10k-images-idx3-ubyte or test"):
        load_mnist(tmp_path, "test")


def test_root_that_is_no_folder_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="nowhere: cannot be read as a folder"):
        load_mnist(tmp_path / "nowhere")


def test_two_sets_in_one_folder_are_a_data_error(tmp_path):
    for name in ("a-", "b-"):
        make_set(tmp_path, (f"{name}train-images-idx3-ubyte", f"{name}train-labels-idx1-ubyte"))
    with pytest.raises(DataError, match="more than one data set: 'a-', 'b-'; give each"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((3, 2, 2), np.uint8),
            np.zeros(4, np.uint8),
            r"expected 3 integers.*got uint8 \(4,\)",
        ),
        (np.zeros((3, 2, 2), np.uint8), np.zeros(3, "f4"), r"expected 3 integers.*got float32"),
        (
            np.zeros((3, 2, 2), np.uint8),
            np.full(3, -1, "i1"),
            r"labels must be in 0 ... 65535, got -1",
        ),
        (
            np.zeros((3, 2, 2), np.uint8),
            np.full(3, 2**30, "i4"),
            r"labels must be in .* got 1073741824",
        ),
        (
            np.zeros((3, 2, 2), "f4"),
            np.zeros(3, np.uint8),
            r"expected uint8 images .*got float32 \(3, 2, 2\)",
        ),
        (
            np.zeros((3, 4), np.uint8),
            np.zeros(3, np.uint8),
            r"expected uint8 images .*got uint8 \(3, 4\)",
        ),
    ],
)
def test_files_that_do_not_fit_each_other_are_a_data_error(tmp_path, images, labels, message):
    write(tmp_path, "train-images-idx3-ubyte", encode(images))
    write(tmp_path, "train-labels-idx1-ubyte", encode(labels))
    with pytest.raises(DataError, match=message):
        load_mnist(tmp_path)


def test_unknown_split_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        load_mnist(tmp_path, "val")


@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST files are not on this machine")
def test_mnist_itself_is_read_completely():
    train, test = load_mnist(MNIST), load_mnist(MNIST, "test")
    assert train.images.shape == (60000, 1, 28, 28) and test.images.shape == (10000, 1, 28, 28)
    # Class sizes as published; the order of the samples does not matter.
    assert np.bincount(train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert np.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert train.classes == test.classes == tuple("0123456789")
    assert round(float(train.images.mean()) / 255, 4) == 0.1307  # the well-known mean
