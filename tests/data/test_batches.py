"""Mini-batches: order, the last one, scaling, memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.data.batches import batches


def numbered(n):
    """`n` uint8 images whose pixels, and whose labels, are their own number."""
    return np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3), np.uint8)


@given(n=st.integers(0, 70), batch_size=st.integers(1, 80), shuffle=st.booleans())
def test_epoch_holds_every_sample_once_with_its_label(n, batch_size, shuffle):
    x, y = numbered(n), np.arange(n)
    sizes, seen = [], []
    for images, labels in batches(x, y, batch_size, shuffle=shuffle, seed=3, epoch=1):
        assert images.dtype == np.float32 and images.flags.c_contiguous
        assert images.shape == (len(labels), 1, 2, 3)
        assert np.array_equal(images, as_float(x[labels]))
        sizes.append(len(labels))
        seen += labels.tolist()
    assert sorted(seen) == list(range(n))
    assert sizes == [batch_size] * (n // batch_size) + [n % batch_size] * (n % batch_size > 0)
    if not shuffle:
        assert seen == list(range(n))


def as_float(x):
    return (x / 255).astype(np.float32)


def epoch_order(seed, epoch, batch_size=7):
    parts = [y for _, y in batches(numbered(50), np.arange(50), batch_size,
                                   shuffle=True, seed=seed, epoch=epoch)]  # fmt: skip
    return np.concatenate(parts).tolist()


def test_order_depends_on_seed_and_epoch_only():
    assert epoch_order(1, 2) == epoch_order(1, 2) == epoch_order(1, 2, batch_size=50)
    orders = {tuple(epoch_order(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_order_of_a_seed_is_pinned():
    first = next(batches(numbered(50), np.arange(50), 8, shuffle=True, seed=0, epoch=0))[1]
    assert first.tolist() == [47, 21, 5, 40, 43, 38, 14, 33]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_changing_a_batch_changes_nothing_else(dtype, shuffle):
    x, y = numbered(10).astype(dtype), np.arange(10)
    x0, y0 = x.copy(), y.copy()
    first = list(batches(x, y, 3, shuffle=shuffle))
    kept = [(images.copy(), labels.copy()) for images, labels in first]
    for images, labels in batches(x, y, 3, shuffle=shuffle):
        images[:] = -1
        labels[:] = -1
    assert np.array_equal(x, x0) and np.array_equal(y, y0)
    for (images, labels), (images0, labels0) in zip(first, kept, strict=True):
        assert np.array_equal(images, images0) and np.array_equal(labels, labels0)


def test_without_labels_the_second_item_is_none():
    assert [y for _, y in batches(numbered(5), None, 2, shuffle=True)] == [None] * 3


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_that_are_not_contiguous_are_gathered_right(shuffle):
    x = np.random.default_rng(0).random((9, 4, 5, 2)).transpose(0, 3, 1, 2)
    for images, labels in batches(x, np.arange(9), 4, shuffle=shuffle):
        assert images.flags.c_contiguous
        assert np.array_equal(images, x[labels].astype(np.float32))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_memory_of_an_epoch_is_a_few_batches(layout, shuffle):
    x = np.zeros((4096, 1, 16, 16), np.uint8)  # 1 MiB, 4 MiB as float32
    if layout == "transposed":
        x = x.reshape(4096, 16, 16, 1).transpose(0, 3, 1, 2)
    y = np.zeros(4096, np.int64)
    list(batches(x[:64], y[:64], 64, shuffle=True))  # imports, done before measuring
    tracemalloc.start()
    for _ in batches(x, y, 64, shuffle=shuffle):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000  # a float32 batch is 64 KiB, the order and its keys 32 KiB each


def test_errors_are_raised_by_the_call_itself():
    x, y = numbered(4), np.arange(4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        batches(x, y, 0)
    with pytest.raises(TypeError):
        batches(x, y, 2.0)
    with pytest.raises(ValueError, match="got 3 for 4 samples"):
        batches(x, y[:3], 2)
    with pytest.raises(TypeError, match="images must be uint8"):
        batches(x.astype(int), y, 2)
    with pytest.raises(ValueError, match="seed must be in"):
        batches(x, y, 2, shuffle=True, seed=-1)
