"""Data as a training has them: decoded, and in its own parts."""

import numpy as np
import pytest
from inspection.pictures import scene
from PIL import Image

from minicnn.data.dataset import Dataset
from minicnn.inspection import divided
from minicnn.inspection.divided import check_divided


def decoded(pictures):
    """Two classes in turn, as a decoder gives them."""
    images = np.array([np.asarray(p.resize((48, 48))).transpose(2, 0, 1) for p in pictures])
    return Dataset(images, np.arange(len(images)) % 2, ("cat", "dog"))


def parts(count=24):
    return {"train": decoded([scene(k) for k in range(count)]),
            "val": decoded([scene(100 + k) for k in range(count)])}  # fmt: skip


def names(given):
    return {name: [f"root/{name}/{k}" for k in range(len(part.labels))]
            for name, part in given.items()}  # fmt: skip


def spoiled():
    """A mirrored copy in the other part, an exact one in the other class, a flat picture."""
    given = parts()
    flipped = scene(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    given["val"].images[4] = decoded([flipped]).images[0]
    given["train"].images[7] = given["train"].images[10]
    given["train"].images[9] = np.array([20, 90, 30])[:, None, None]
    return given


def found(report):
    return {(f.kind, *f.items, f.detail) for f in report.findings}


EXACT = {
    ("two_classes", "root/train/7", "root/train/10", "the same pixels"),
}  # fmt: skip
NEAR = ("two_parts", "root/train/2", "root/val/4", "almost the same picture, mirrored")


def test_clean_parts_have_no_findings():
    given = parts()
    report = check_divided("root", given, names(given), photos=True)
    assert report.findings == [] and report.total == 48
    assert report.counts["val"] == {"cat": 12, "dog": 12}
    assert report.skipped == ("misnamed", "very_small", "very_long")


def test_copies_across_the_parts_of_the_training_are_found():
    given = spoiled()
    report = check_divided("root", given, names(given), photos=True)
    assert found(report) == {*EXACT, NEAR, ("blank", "root/train/9", "one colour")}


@pytest.mark.parametrize("reason", ["many", "small", "arrays"])
def test_only_exact_copies_are_told_where_near_ones_are_not_looked_for(monkeypatch, reason):
    given = spoiled()
    if reason == "many":
        monkeypatch.setattr(divided, "MOST", 47)
    elif reason == "small":
        monkeypatch.setattr(divided, "SIDE", 49)
    report = check_divided("root", given, names(given), photos=reason != "arrays")
    assert found(report) == {*EXACT, ("blank", "root/train/9", "")}
    assert "near_duplicate" in report.skipped
    assert report.as_dict()["not_looked_for"] == list(report.skipped)


def test_what_could_not_be_read_is_among_the_findings():
    given = parts()
    problems = [("root/cat/half.jpg", "is truncated")]
    report = check_divided("root", given, names(given), True, problems)
    assert found(report) == {("unreadable", "root/cat/half.jpg", "is truncated")}
