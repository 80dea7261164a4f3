"""Ways of samples in the lanes that few nets take: each against the float64 oracle."""

import pytest

import minicnn as mc
from engine.agreement import check
from minicnn.lowering import choice


@pytest.fixture(autouse=True)
def samples_in_the_lanes(monkeypatch):
    monkeypatch.setattr(choice, "ACROSS", "samples")


@pytest.mark.parametrize("batch", (1, 17))
@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "size"), [
    (3, 1, 1, 1, (8, 8)), (5, 1, 2, 1, (9, 11)), (3, 2, 1, 1, (13, 10)), (1, 1, 0, 1, (2, 2)),
    (3, 1, 0, 2, (9, 8)), ((1, 3), (1, 3), 0, 1, (4, 33)), ((2, 4), 1, (1, 3), 1, (5, 6)),
    (5, 1, 4, 1, (3, 3)),
])  # fmt: skip
def test_convolution_under_windows_of_four_pixels_is_right(
    kernel, stride, padding, dilation, size, relu, batch
):
    conv = mc.Conv2d(3, 7, kernel, stride, padding, dilation)
    between = [mc.ReLU()] if relu else []
    model = mc.Sequential(conv, *between, mc.MaxPool2d(2), mc.Linear(None, 3), seed=5)
    operations = check(model, (3, *size), batch)
    assert operations[0].pooled is not None


@pytest.mark.parametrize("groups", (1, 2, 4))
@pytest.mark.parametrize("outputs", (4, 12, 20))
def test_inner_convolution_under_a_pool_is_right(groups, outputs):
    inner = mc.Conv2d(4, outputs, 3, padding=1, groups=groups, bias=groups > 1)
    model = mc.Sequential(
        mc.Conv2d(2, 4, 3, groups=groups if groups < 4 else 1), mc.ReLU(), mc.MaxPool2d(2),
        inner, mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 3), seed=6,
    )  # fmt: skip
    operations = check(model, (2, 15, 12), batch=19)
    assert [o.pooled is not None for o in operations].count(True) == 2


@pytest.mark.parametrize("pool", [3, (1, 2), (2, 3), (2, 1)])
def test_windows_of_other_sizes_are_an_operation_of_their_own(pool):
    model = mc.Sequential(mc.Conv2d(2, 5, 3), mc.MaxPool2d(pool), mc.Linear(None, 3), seed=1)
    operations = check(model, (2, 11, 12))
    assert all(o.pooled is None for o in operations)


@pytest.mark.parametrize("outputs", (1, 2, 3, 5, 6, 8, 9, 16))
@pytest.mark.parametrize("width", (3, 5, 7, 14, 28))
def test_sums_of_any_number_of_pixels_and_outputs_are_right(outputs, width):
    model = mc.Sequential(
        mc.Conv2d(2, outputs, 3, padding=1), mc.ReLU(), mc.Conv2d(outputs, 3, 3),
        mc.Linear(None, 2), seed=4,
    )  # fmt: skip
    check(model, (2, 4, width), batch=5)
