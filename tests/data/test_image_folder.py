"""Photos in folders: what is found, what is decoded, what is wrong and said so."""

import os
import tracemalloc
import warnings

import numpy as np
import pytest
from data.photos import COLOURS, make_photos, save_photo
from PIL import Image

from minicnn.data import image_folder
from minicnn.data.errors import DataError
from minicnn.data.folders import list_classes
from minicnn.data.image_folder import ImageFolder, open_photos
from minicnn.data.pictures import load_picture
from minicnn.data.sources import open_source

WHITE = {"channels": 3, "divisor": 255, "background": None}


@pytest.fixture
def root(tmp_path):
    return make_photos(tmp_path / "photos")


def problems_of(root, **options):
    return ImageFolder(root, 8, on_error="skip", **options).problems


def test_folder_per_class_gives_images_labels_and_sorted_classes(root):
    images, labels, classes = folder = ImageFolder(root, image_size=(6, 9))
    assert images.shape == (24, 3, 6, 9) and images.dtype == np.uint8
    assert classes == ("blue", "green", "red")
    assert labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    means = images.mean(axis=(2, 3))
    for label, name in enumerate(classes):
        # Noise adds 9.5 on average; JPEG and chroma subsampling move a flat colour by little.
        np.testing.assert_allclose(means[labels == label], np.tile(COLOURS[name], (8, 1)), atol=14)
    assert folder.problems == [] and len(folder.paths) == len(folder) == 24


def test_each_image_is_what_predict_makes_of_its_file(root):
    folder = ImageFolder(root, 12)
    for path, image in zip(folder.paths, folder.images, strict=True):
        np.testing.assert_array_equal(image, load_picture(path, WHITE | {"size": [12, 12]}))


def test_number_of_threads_does_not_change_the_images(root, keep_threads):
    from minicnn import threads

    threads.set_num_threads(1)
    alone = ImageFolder(root, 10)
    threads.set_num_threads(3)
    np.testing.assert_array_equal(ImageFolder(root, 10).images, alone.images)


def test_every_format_and_mode_is_read(tmp_path):
    grey = Image.linear_gradient("L").resize((16, 12))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, picture, options in [
        ("a.jpg", grey.convert("RGB"), {}), ("b.png", grey, {}), ("c.bmp", grey, {}),
        ("d.gif", grey.convert("P"), {}), ("e.webp", grey.convert("RGB"), {}),
        ("f.tiff", grey.convert("CMYK"), {}), ("g.png", grey.convert("RGBA"), {}),
        ("h.png", Image.fromarray(np.full((9, 7), 40_000, np.uint16)), {}),
        ("i.jpg", grey, {"exif": turned}), ("j.JPEG", grey, {}), ("k.png", grey.convert("1"), {}),
    ]:  # fmt: skip
        (tmp_path / "a" / "deeper").mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "a" / "deeper" / name, **options)
    save_photo(tmp_path / "b" / "one.png", (0, 0, 0), size=(1, 1))
    folder = ImageFolder(tmp_path, 8)
    assert folder.images.shape == (12, 3, 8, 8) and folder.problems == []


def test_grey_channel_is_one_plane(root):
    assert ImageFolder(root, 8, channels=1).images.shape == (24, 1, 8, 8)


def test_transparent_parts_show_the_background_asked_for(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(tmp_path / "a" / "a.png")
    for background, shown in ((None, 255), (0.0, 0)):
        assert np.unique(ImageFolder(tmp_path, 4, background=background).images) == [shown]


def test_large_jpeg_reduced_while_decoding_stays_near_the_full_decoding(tmp_path):
    ramp = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    ramp.save(tmp_path / "a.jpg", quality=95)
    ramp.save(tmp_path / "a.png")
    preprocessing = WHITE | {"size": [24, 32]}
    got, full = (load_picture(tmp_path / name, preprocessing) for name in ("a.jpg", "a.png"))
    assert np.abs(got.astype(int) - full).max() <= 3  # rounding of the DCT and of JPEG


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_is_never_reduced_below_the_size_asked_for(tmp_path, monkeypatch, orientation):
    from PIL import JpegImagePlugin

    sizes = []
    plain = JpegImagePlugin.JpegImageFile.draft

    def draft(self, mode, size):
        result = plain(self, mode, size)
        sizes.append(self.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", draft)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpg", exif=exif)
    load_picture(tmp_path / "a.jpg", WHITE | {"size": [50, 150]})
    # Upright 800×400 for 150×50: a half would do. Turned it is 400×800: 400 to 150 stays whole.
    assert sizes == [(400, 200) if orientation == 1 else (800, 400)]


def test_broken_files_are_all_named_with_their_path(root):
    (root / "red" / "empty.jpg").write_bytes(b"")
    (root / "blue" / "text.png").write_text("no picture")
    whole = (root / "red" / "00.png").read_bytes()
    (root / "red" / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        ImageFolder(root, 8)
    text = str(caught.value)
    assert text.startswith(f"{root}: 3 problems; ") and "--on-error skip" in text
    for name in ("red/empty.jpg", "blue/text.png", "red/half.png"):
        assert f"\n  {root / name}: " in text


def test_skipping_leaves_out_exactly_what_is_broken(root):
    expected = ImageFolder(root, 8)
    (root / "green" / "03a.jpg").write_bytes(b"\xff\xd8 broken")
    folder = ImageFolder(root, 8, on_error="skip")
    np.testing.assert_array_equal(folder.images, expected.images)
    np.testing.assert_array_equal(folder.labels, expected.labels)
    assert folder.paths == expected.paths
    assert [path for path, _ in folder.problems] == [str(root / "green" / "03a.jpg")]


def test_more_problems_than_fit_are_counted(root):
    for k in range(15):
        (root / "red" / f"bad{k:02d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"15 problems(.|\n)*bad09\.png(.|\n)*and 5 more$"):
        ImageFolder(root, 8)


def test_misnamed_picture_is_read_by_its_content(root):
    (root / "red" / "00.png").rename(root / "red" / "zz.jpg")
    assert len(ImageFolder(root, 8)) == 24


def test_hidden_and_foreign_files_are_passed_over_and_listed(root):
    save_photo(root / ".trash" / "a.png", (0, 0, 0))
    save_photo(root / "red" / ".thumbs" / "a.png", (0, 0, 0))
    (root / "red" / ".DS_Store").write_bytes(b"x")
    (root / "red" / "notes.txt").write_text("x")
    (root / "README").write_text("x")
    folder = ImageFolder(root, 8)
    assert len(folder) == 24 and folder.classes == ("blue", "green", "red")
    hidden = [root / ".trash", root / "red" / ".DS_Store", root / "red" / ".thumbs"]
    assert sorted(folder.hidden) == [str(path) for path in hidden]
    assert folder.foreign == [str(root / "README"), str(root / "red" / "notes.txt")]


def test_symlink_loop_is_a_problem_that_ends(root):
    (root / "red" / "again").symlink_to(root / "red")
    (root / "blue" / "up").symlink_to(root / "blue" / ".." / "blue")
    (root / "green" / "me.png").symlink_to("me.png")
    problems = problems_of(root)
    assert [os.path.relpath(path, root) for path, _ in problems] == [
        "blue/up", "green/me.png", "red/again",
    ]  # fmt: skip
    assert "never ends" in problems[0].reason and "levels of symbolic" in problems[1].reason
    with pytest.raises(DataError, match="red/again: is a link to a folder that it is in"):
        ImageFolder(root, 8)


def test_link_to_the_root_does_not_bring_other_classes_in(root):
    (root / "red" / "all").symlink_to(root)
    folder = ImageFolder(root, 8, on_error="skip")
    assert [path for path, _ in folder.problems] == [str(root / "red" / "all")]
    assert len(folder) == 24 and "never ends" in folder.problems[0].reason


def test_deep_folders_are_listed_in_the_order_of_their_names(tmp_path):
    for name in ("b/z.png", "b.png", "a/c/d/e.png", "a/b.png", "a.png", "B.png"):
        save_photo(tmp_path / "class" / name, (0, 0, 0))
    names = ["B.png", "a/b.png", "a/c/d/e.png", "a.png", "b/z.png", "b.png"]
    found = [os.path.relpath(path, tmp_path / "class") for path in list_classes(tmp_path).files]
    assert found == names


def test_many_files_are_listed_in_order_with_little_memory(tmp_path):
    (tmp_path / "many").mkdir()
    for k in range(4000):
        (tmp_path / "many" / f"{k:05d}.png").touch()
    tracemalloc.start()
    listing = list_classes(str(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.files) == 4000 and listing.files == sorted(listing.files)
    assert peak < 4000 * (len(str(tmp_path)) + 500)  # bytes: the paths and little more


def test_link_to_a_folder_elsewhere_is_followed(root, tmp_path):
    save_photo(tmp_path / "elsewhere" / "a.png", (1, 2, 3))
    (root / "red" / "more").symlink_to(tmp_path / "elsewhere")
    assert len(ImageFolder(root, 8)) == 25


def test_empty_class_is_a_problem_or_left_out(root):
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="empty: a class without a picture"):
        ImageFolder(root, 8)
    folder = ImageFolder(root, 8, on_error="skip")
    assert folder.classes == ("blue", "green", "red") and set(folder.labels) == {0, 1, 2}


def test_folder_without_classes_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="holds nothing but no folder for each class"):
        ImageFolder(tmp_path)
    save_photo(tmp_path / "a.png", (0, 0, 0))
    with pytest.raises(DataError, match="holds pictures but no folder for each class"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        ImageFolder(tmp_path / "nowhere")


def test_nothing_but_broken_files_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no picture that can be used"):
        ImageFolder(tmp_path, on_error="skip")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_named(root):
    (root / "red").chmod(0)
    try:
        with pytest.raises(DataError, match="red: cannot be read: Permission denied"):
            ImageFolder(root, 8)
    finally:
        (root / "red").chmod(0o700)


def test_folder_that_cannot_be_listed_is_named(root, monkeypatch):
    plain = os.scandir

    def scandir(path):
        if os.path.basename(path) == "red":
            raise PermissionError(13, "Permission denied", path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="red: cannot be read: Permission denied"):
        ImageFolder(root, 8)


def test_pipe_with_the_name_of_a_picture_does_not_block(root):
    os.mkfifo(root / "red" / "pipe.png")
    assert "neither a file nor a folder" in problems_of(root)[0].reason


def test_names_in_any_script_are_kept(tmp_path):
    names = ["Ünïcode", "собака", "犬", "🐶 dog", "with\nnewline"]
    for name in names:
        save_photo(tmp_path / name / "名前.png", (1, 2, 3))
    assert ImageFolder(tmp_path, 8).classes == tuple(sorted(names))


def test_class_name_that_is_no_text_is_refused(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system takes text only")
    with pytest.raises(DataError, match=r"b'caf\\xe9' has a name that is not UTF-8"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"image_size": 0}, ValueError), ({"image_size": (8, 9999)}, ValueError),
     ({"image_size": "64"}, TypeError), ({"image_size": (1, 2, 3)}, TypeError),
     ({"image_size": 6.5}, TypeError), ({"channels": 2}, ValueError),
     ({"on_error": "ignore"}, ValueError), ({"background": 2.0}, ValueError)],
)  # fmt: skip
def test_senseless_argument_is_refused(root, options, error):
    with pytest.raises(error, match=next(iter(options))):
        ImageFolder(root, **options)


def test_no_warning_of_pillow_reaches_the_caller(tmp_path):
    (tmp_path / "a").mkdir()
    cut = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # declares five entries and has none
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "a.jpg", exif=cut)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ImageFolder(tmp_path, 4)
    assert said == []


def test_progress_counts_every_file(root):
    calls = []
    ImageFolder(root, 8, progress=lambda *call: calls.append(call))
    assert calls == [(str(root), k, 24) for k in range(1, 25)]


def divided(tmp_path, *names):
    for name in names:
        make_photos(tmp_path / name, 4)
    return tmp_path


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_divided_folder_opens_in_its_parts(tmp_path, validation):
    splits = open_source(divided(tmp_path, "train", validation, "test"), photos={"image_size": 8})
    assert [len(p.labels) for p in splits[1:4]] == [12, 12, 12]
    assert splits.photos.size == (8, 8) and splits.train.images.shape == (12, 3, 8, 8)


def test_divided_folder_may_lack_parts_and_classes_in_them(tmp_path):
    divided(tmp_path, "train", "test")
    for path in (tmp_path / "test" / "blue").iterdir():
        path.unlink()
    (tmp_path / "test" / "blue").rmdir()
    splits = open_photos(str(tmp_path), image_size=8)
    assert splits.validation is None
    assert splits.test.classes == splits.train.classes
    assert np.unique(splits.test.labels).tolist() == [1, 2]


def test_class_that_only_the_test_part_has_is_refused(tmp_path):
    divided(tmp_path, "train", "test")
    save_photo(tmp_path / "test" / "cat" / "a.png", (0, 0, 0))
    with pytest.raises(DataError, match="has the classes cat, which .*train has not"):
        open_photos(str(tmp_path), image_size=8)


def test_divided_folder_needs_the_part_from_python(tmp_path):
    divided(tmp_path, "train", "val")
    with pytest.raises(DataError, match=r'holds train, validation, not classes; .*split="train"'):
        ImageFolder(tmp_path)
    assert len(ImageFolder(tmp_path, 8, split="validation")) == 12
    with pytest.raises(DataError, match="has no part 'test'; it has train, validation"):
        ImageFolder(tmp_path, split="test")


def test_two_folders_for_one_part_are_refused(tmp_path):
    with pytest.raises(DataError, match="both val and valid"):
        open_source(divided(tmp_path, "train", "val", "valid"))


def test_class_may_be_called_train(tmp_path):
    for name in ("train", "bus"):
        save_photo(tmp_path / name / "a.png", (0, 0, 0))
    assert open_source(tmp_path, photos={"image_size": 8}).train.classes == ("bus", "train")


def test_all_photos_of_the_animals_subset_are_read(data_dir, tmp_path):
    for name in ("dog", "panda", "bird"):
        (tmp_path / name).mkdir()
        for path in sorted((data_dir / "animals" / name).iterdir())[:10]:
            (tmp_path / name / path.name).symlink_to(path)
    splits = open_source(tmp_path, photos={"image_size": 32})
    assert splits.train.images.shape == (30, 3, 32, 32)
    assert splits.train.classes == ("bird", "dog", "panda")


def test_budget_is_shared_by_the_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_folder, "MEMORY", 12 * 3 * 64)
    splits = open_photos(str(divided(tmp_path / "data", "train", "test")), image_size=8)
    assert not isinstance(splits.train.images, np.memmap)
    assert isinstance(splits.test.images, np.memmap)
