"""Reading the files of the named data sets; CIFAR-10 from small archives made here."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from minicnn.data import named
from minicnn.data.download import NAMED
from minicnn.data.errors import DataError
from minicnn.data.named import CIFAR_MEMBERS, CIFAR_RECORD, load_cifar10, load_named

ALL = [*CIFAR_MEMBERS["train"], *CIFAR_MEMBERS["test"]]


def records(seed, n=3):
    out = np.random.default_rng(seed).integers(0, 256, (n, CIFAR_RECORD), np.uint8)
    out[:, 0] %= 10
    return out


def archive(path, members):
    with tarfile.open(path, "w:gz") as out:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                out.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def good_members():
    return [(name, records(k).tobytes()) for k, name in enumerate(ALL)]


def test_batches_are_joined_in_order_whatever_their_order_in_the_archive(tmp_path):
    path = archive(tmp_path / "c.tar.gz", [("readme.html", b"hello"), *reversed(good_members())])
    train, test = load_cifar10(path), load_cifar10(path, "test")
    expected = np.concatenate([records(k) for k in range(5)])
    assert train.images.shape == (15, 3, 32, 32) and train.images.flags.c_contiguous
    assert train.images.flags.writeable and train.labels.dtype == np.int64
    assert np.array_equal(train.images.reshape(15, -1), expected[:, 1:])
    assert np.array_equal(train.labels, expected[:, 0])
    assert np.array_equal(test.images.reshape(3, -1), records(5)[:, 1:])
    assert train.classes[0] == "airplane" and train.classes[9] == "truck"


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m[:2] + m[3:], "data_batch_3.bin not found; expected the binary version"),
        (lambda m: [(m[0][0], m[0][1][:-1]), *m[1:]], "data_batch_1.bin has 9218 bytes, expected"),
        (lambda m: [(m[0][0], b""), *m[1:]], "data_batch_1.bin has 0 bytes"),
        (lambda m: [(m[0][0], b"\x0a" + m[0][1][1:]), *m[1:]], "label 10 found, expected 0 ... 9"),
        (lambda m: [("../" + name, data) for name, data in m], "data_batch_1.bin, .* not found"),
        (lambda m: [("", link(m[0][0], "/etc/passwd")), *m[1:]], "data_batch_1.bin not found"),
        (lambda m: [("", link(m[0][0], m[1][0], tarfile.LNKTYPE)), *m[1:]], "_1.bin not found"),
    ],
)
def test_spoiled_archive_is_a_data_error(tmp_path, spoil, message):
    path = archive(tmp_path / "c.tar.gz", spoil(good_members()))
    with pytest.raises(DataError, match=message):
        load_cifar10(path)


def test_huge_member_is_refused_by_its_header(tmp_path):
    info = tarfile.TarInfo(ALL[0])
    info.size = 1 << 40
    path = tmp_path / "c.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(10_000)))
    with pytest.raises(DataError, match="declares 1099511627776 bytes; not CIFAR-10"):
        load_cifar10(path)


def test_every_cut_of_an_archive_is_a_data_error(tmp_path):
    path = archive(tmp_path / "c.tar.gz", good_members())
    content = path.read_bytes()
    for length in [*range(0, 400, 7), *range(400, 5 * len(content) // 6, 1999)]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="c.tar.gz"):
            load_cifar10(path)


def test_damaged_tar_header_is_a_data_error(tmp_path):
    """Changed bytes in the first member's header, under a right gzip checksum."""
    path = archive(tmp_path / "c.tar.gz", good_members())
    plain = gzip.decompress(path.read_bytes())[:12_000]
    random = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(plain)
        content[random.integers(512)] ^= random.integers(1, 256)
        path.write_bytes(gzip.compress(bytes(content), 1))
        with pytest.raises(DataError):
            load_cifar10(path)


def test_python_version_of_the_archive_is_refused_and_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    members = [(f"cifar-10-batches-py/data_batch_{k}", pickle.dumps(Bomb())) for k in range(1, 6)]
    with pytest.raises(DataError, match="expected the binary version of CIFAR-10"):
        load_cifar10(archive(tmp_path / "c.tar.gz", members))


def test_named_mnist_gets_the_names_of_its_classes(tmp_path, monkeypatch):
    for part in ("train", "t10k"):
        images = struct.pack(">HBBIII", 0, 8, 3, 2, 1, 1) + b"\x05\x06"
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBBI2B", 0, 8, 1, 2, 9, 0)
        )
    monkeypatch.setattr(named, "fetch", lambda name, **options: str(tmp_path))
    data = load_named("fashion-mnist", "test")
    assert data.labels.tolist() == [9, 0]
    assert data.classes == NAMED["fashion-mnist"].classes
    assert data.classes[9] == "Ankle boot"


def test_unknown_split_is_refused_before_any_download():
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'validation'"):
        load_named("mnist", "validation")
