"""The pictures of a run. How they look was judged by eye; here is what must stay true."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from minicnn import report
from minicnn.report.markup import percent

pytest.importorskip("matplotlib")


def history(epochs, validated=True):
    rows = []
    for k in range(epochs):
        row = {"epoch": k + 1, "loss": 2 * 0.7**k, "accuracy": 1 - 0.5 * 0.7**k}
        if validated:
            row |= {"val_loss": 2.1 * 0.7**k, "val_accuracy": 1 - 0.55 * 0.7**k}
        rows.append(row)
    return rows


def pixels(png):
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def count(image, colour):
    return int((np.abs(image - rgb(colour)).max(axis=2) <= 2).sum())


@pytest.mark.parametrize("epochs", [1, 2, 10, 100])
def test_curves_show_training_validation_and_the_best_epoch_on_white(epochs):
    image = pixels(report.draw_curves(history(epochs), 1, "a title"))
    assert (image[0, 0] == 255).all()
    for colour in (report.TRAINING, report.VALIDATION, report.BEST):
        assert count(image, colour) > 50


def test_curves_without_validation_show_training_only():
    image = pixels(report.draw_curves(history(5, validated=False), 1))
    assert count(image, report.TRAINING) > 50
    assert count(image, report.VALIDATION) == 0


def test_curves_are_the_same_bytes_each_time():
    assert report.draw_curves(history(3), 2) == report.draw_curves(history(3), 2)


@pytest.mark.parametrize("classes", [1, 2, 20, 100])
def test_confusion_matrix_of_any_size_is_a_readable_picture(classes):
    matrix = np.eye(classes, dtype=np.int64) * 9 + 1
    image = pixels(report.draw_confusion_matrix(matrix, [f"class {k}" for k in range(classes)]))
    assert 500 <= max(image.shape) <= 2400
    assert (image[0, 0] == 255).all()


def test_confusion_matrix_shades_by_the_share_of_the_row():
    # Two classes of very different size, both always right: equally dark.
    image = pixels(report.draw_confusion_matrix(np.array([[1000, 0], [0, 10]]), ["a", "b"]))
    darkest = "#08306b"  # the end of the colour scale
    half = image.shape[0] // 2
    top, bottom = count(image[:half], darkest), count(image[half:], darkest)
    assert min(top, bottom) > 1000
    mistaken = pixels(report.draw_confusion_matrix(np.array([[1000, 0], [10, 0]]), ["a", "b"]))
    assert (mistaken != image).any()


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.9994, "99.9 %"), (0.025, "2.5 %"),
                        (0.99999, "99.9 %"), (0.0001, "0.1 %")],
)  # fmt: skip
def test_share_reads_0_or_100_only_when_it_is(share, text):
    assert percent(share) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_empty_class_and_strange_names_are_drawn(recwarn):
    names = ["$x$ cost", "_", "a very long name of a class indeed", "熊猫"]
    report.draw_confusion_matrix(np.diag([1, 0, 2, 3]), names)
    assert not recwarn.list


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(report.MissingExtra, match=r"\[report\]"):
        report.draw_curves(history(2), 1)
