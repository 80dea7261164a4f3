"""Photos beyond the memory's budget: decoded once, found again, whole or not at all."""

import errno
import os

import numpy as np
import pytest
from data.photos import make_photos, save_photo

from minicnn.data import decoding
from minicnn.data.errors import DataError
from minicnn.data.image_folder import ImageFolder
from minicnn.data.picture_cache import join_rows, take_rows
from minicnn.data.pictures import decode_picture


@pytest.fixture
def root(tmp_path):
    return make_photos(tmp_path / "photos", 3)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded."""
    names = []

    def decode(path, *rest):
        names.append(os.path.basename(path))
        return decode_picture(path, *rest)

    monkeypatch.setattr(decoding, "decode_picture", decode)
    return names


@pytest.fixture
def cached(root, tmp_path):
    """Opens the photos with no memory to keep them in."""
    return lambda **options: ImageFolder(root, 8, memory=0, cache=tmp_path / "cache", **options)


def sets(tmp_path):
    return sorted((tmp_path / "cache" / "photos").glob("*/*"))


def test_photos_beyond_the_budget_are_mapped_and_equal(root, cached):
    folder = cached()
    assert isinstance(folder.images, np.memmap) and not folder.images.flags.writeable
    np.testing.assert_array_equal(folder.images, ImageFolder(root, 8).images)


def test_budget_holds_what_just_fits(root, tmp_path):
    needed = 9 * 3 * 8 * 8
    for memory, mapped in ((needed, False), (needed - 1, True)):
        folder = ImageFolder(root, 8, memory=memory, cache=tmp_path)
        assert isinstance(folder.images, np.memmap) == mapped


def test_second_opening_decodes_nothing(cached, decoded):
    first = cached()
    assert len(decoded) == 9
    again = cached()
    assert len(decoded) == 9
    np.testing.assert_array_equal(first.images, again.images)


def test_broken_files_are_remembered_with_the_pictures(root, cached, decoded):
    (root / "green" / "00a.png").write_bytes(b"x")
    first, again = (cached(on_error="skip") for _ in range(2))
    assert len(decoded) == 10 and len(again) == 9
    assert first.problems == again.problems and again.problems[0].path.endswith("00a.png")
    np.testing.assert_array_equal(first.images, again.images)


def test_changed_file_is_decoded_again_and_the_old_set_makes_room(root, cached, tmp_path, decoded):
    before = cached().images.copy()
    path = save_photo(root / "red" / "00.png", (0, 0, 0), seed=9)
    os.utime(path, ns=(1, 1))
    assert (cached().images != before).any()
    assert len(decoded) == 18 and len(sets(tmp_path)) == 1


@pytest.mark.parametrize("name", ["images.bin", "index.json"])
@pytest.mark.parametrize("content", [b"", b"{}x", None])
def test_damaged_cache_is_made_again(cached, tmp_path, decoded, name, content):
    expected = cached().images.copy()
    file = sets(tmp_path)[0] / name
    file.unlink() if content is None else file.write_bytes(content)
    np.testing.assert_array_equal(cached().images, expected)
    assert len(decoded) == 18


def test_interrupted_decoding_leaves_nothing_behind(cached, tmp_path):
    def interrupt(root, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(progress=interrupt)
    assert sets(tmp_path) == []
    assert len(cached()) == 9


def test_full_disk_is_an_os_error_and_leaves_nothing_behind(cached, tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        cached()
    assert sets(tmp_path) == []


def test_cache_folder_that_is_not_writable_is_named_with_a_way_out(cached, tmp_path, monkeypatch):
    def makedirs(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "makedirs", makedirs)
    with pytest.raises(DataError, match=r"cache cannot be written: .*; set MINICNN_CACHE"):
        cached()


def test_another_process_that_was_faster_is_no_failure(cached, tmp_path, monkeypatch):
    plain = os.rename

    def rename(source, target):
        import shutil

        shutil.copytree(source, target)  # what the other process left
        plain(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert len(cached()) == 9
    assert len(sets(tmp_path)) == 1


def test_rows_of_a_mapped_array_stay_on_the_disk(cached, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "spool"))
    monkeypatch.setattr("minicnn.data.picture_cache.ROWS", 2)
    images = cached().images
    index = np.array([7, 0, 3, 8, 1])
    taken, joined = take_rows(images, index), join_rows([images, np.asarray(images)])
    np.testing.assert_array_equal(taken, np.asarray(images)[index])
    np.testing.assert_array_equal(joined, np.concatenate([images, images]))
    assert isinstance(taken, np.memmap) and isinstance(joined, np.memmap)
    assert os.listdir(tmp_path / "spool") == []


def test_rows_of_an_array_in_memory_are_taken_in_memory():
    images = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
    taken = take_rows(images, np.array([5, 1]))
    np.testing.assert_array_equal(taken, images[[5, 1]])
    assert not isinstance(join_rows([images, taken]), np.memmap)
    assert join_rows([images]) is images
