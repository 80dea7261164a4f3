"""Copies, classes and arrays: what is found and how serious it is."""

import json

import numpy as np
import pytest

from minicnn.data.dataset import Dataset, Splits
from minicnn.inspection.arrays import check_arrays
from minicnn.inspection.classes import check_classes
from minicnn.inspection.copies import ALIKE, CUT, MIRRORED, Sample, find_copies
from minicnn.inspection.findings import KINDS, Finding, Report


def sample(name, part="train", label="a", content=None, pixels=None):
    return Sample(name, part, label, (content or name).encode(), (pixels or name).encode())


@pytest.mark.parametrize(
    ("second", "kinds", "detail"),
    [
        ({"content": "1", "pixels": "p"}, ["duplicate"], "the same file"),
        ({"content": "2", "pixels": "p"}, ["duplicate"], "the same pixels"),
        ({"content": "1", "pixels": "p", "label": "b"}, ["two_classes"], "the same file"),
        ({"content": "2", "pixels": "p", "part": "val"}, ["two_parts"], "the same pixels"),
        ({"content": "1", "pixels": "p", "part": "val", "label": "b"},
         ["two_classes", "two_parts"], "the same file"),
        ({"content": "2", "pixels": "q"}, [], ""),
    ],
)  # fmt: skip
def test_copies_are_judged_by_where_they_are(second, kinds, detail):
    samples = [sample("x"), sample("1", content="1", pixels="p"), sample("2", **second)]
    findings = find_copies(samples, {})
    assert [finding.kind for finding in findings] == kinds
    assert all(f.items == ("1", "2") and f.detail == detail for f in findings)


def test_alike_pictures_join_exact_copies_in_one_group():
    samples = [sample("a"), sample("b", pixels="p"), sample("c", pixels="p"), sample("d")]
    (finding,) = find_copies(samples, {ALIKE: [(1, 3), (0, 1)]})
    assert finding == Finding("near_duplicate", ("a", "b", "c", "d"), "almost the same picture",
                              ("a",), ("train",))  # fmt: skip


@pytest.mark.parametrize(
    ("links", "detail"),
    [
        ({MIRRORED: [(0, 1)]}, "almost the same picture, mirrored"),
        ({CUT: [(0, 1)]}, "almost the same picture, with its edges cut off"),
        ({ALIKE: [(0, 1)], CUT: [(0, 1)]}, "almost the same picture"),  # the first that holds
        ({MIRRORED: [(0, 1)], CUT: [(1, 2)]}, "almost the same picture"),  # some of each
    ],
)
def test_ways_of_being_alike_are_told(links, detail):
    (finding,) = find_copies([sample(name) for name in "abc"], links)
    assert (finding.kind, finding.detail) == ("near_duplicate", detail)


def test_mirror_images_leak_but_are_no_copies_in_two_classes():
    samples = [sample("a"), sample("b", label="b"), sample("c", part="val")]
    (finding,) = find_copies(samples, {MIRRORED: [(0, 1), (0, 2)]})
    assert (finding.kind, finding.items) == ("two_parts", ("a", "c"))


def test_a_long_chain_of_pairs_is_one_group():
    samples = [sample(str(k)) for k in range(3000)]
    (finding,) = find_copies(samples, {ALIKE: [(k + 1, k) for k in range(2999)]})
    assert len(finding.items) == 3000


@pytest.mark.parametrize(
    ("train", "kinds"),
    [
        ({"a": 50, "b": 10}, []),
        ({"a": 51, "b": 10}, ["imbalance"]),
        ({"a": 50, "b": 9}, ["tiny_class"]),
        ({"a": 50, "b": 20, "c": 0}, ["empty_class"]),
        ({"a": 50}, ["one_class"]),
        ({"a": 50, "b": 0}, ["empty_class", "one_class"]),
    ],
)
def test_classes_are_judged_by_their_sizes(train, kinds):
    assert [finding.kind for finding in check_classes({"train": train})] == kinds


def test_class_that_only_another_part_has_is_unknown():
    counts = {"train": {"a": 50, "b": 50}, "val": {"a": 3, "B": 4, "empty": 0}}
    assert check_classes(counts) == [Finding("unknown_class", ("B",), "", ("B",), ("val",))]


def arrays(count=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 1, 6, 5), dtype=np.uint8)
    return Dataset(x, np.arange(count) % 2, ("a", "b"))


def test_clean_arrays_have_no_findings():
    report = check_arrays(Splits("d", arrays(), test=arrays(seed=1)))
    assert report.findings == [] and report.total == 80
    assert report.counts == {"train": {"a": 20, "b": 20}, "test": {"a": 20, "b": 20}}


def test_arrays_copies_leaks_and_blank_images_are_found():
    train, test = arrays(), arrays(seed=1)
    train.images[4] = train.images[2]  # one class
    train.images[9] = train.images[6]  # two classes
    test.images[5] = train.images[7]  # two parts
    train.images[11] = 77
    report = check_arrays(Splits("d", train, test=test))
    assert [(f.kind, f.items) for kind in KINDS for f in report.of(kind)] == [
        ("two_classes", ("train[6]", "train[9]")),
        ("two_parts", ("train[7]", "test[5]")),
        ("duplicate", ("train[2]", "train[4]")),
        ("blank", ("train[11]",)),
    ]


def test_arrays_with_a_label_that_no_image_has():
    data = Dataset(arrays().images, np.arange(40) % 2 * 2, ("0", "1", "2"))
    assert [f.items for f in check_arrays(Splits("d", data)).of("empty_class")] == [("1",)]


def test_report_as_json_has_every_key_and_is_in_the_order_of_kinds():
    report = Report("d", "photos", {"train": {"a": 1}})
    report.findings += [Finding("blank", ("y",)), Finding("unreadable", ("x",), "why")]
    found = json.loads(json.dumps(report.as_dict()))
    assert found == {
        "format": 1, "data": "d", "source": "photos", "images": 1, "counts": {"train": {"a": 1}},
        "clean": False, "summary": {"unreadable": 1, "blank": 1},
        "findings": [
            {"kind": "unreadable", "severity": "error", "items": ["x"], "detail": "why",
             "classes": [], "parts": []},
            {"kind": "blank", "severity": "warning", "items": ["y"], "detail": "", "classes": [],
             "parts": []},
        ],
        "passed_over": {"hidden": [], "foreign": []}, "not_looked_for": [],
    }  # fmt: skip
    assert Report("d", "arrays").as_dict()["clean"] is True
