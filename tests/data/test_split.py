"""Stratified splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.data.split import stratified_split

FRACTIONS = st.sampled_from(
    [0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9, (0.8, 0.1, 0.1), (0.4, 0.3, 0.2, 0.1)]
)


@given(
    labels=st.lists(st.integers(-3, 6), min_size=8, max_size=120),
    fraction=FRACTIONS,
    seed=st.integers(0, 2**64 - 1),
)
def test_parts_are_disjoint_complete_sorted_and_hold_every_class(labels, fraction, seed):
    labels = np.array(labels)
    shares = fraction if isinstance(fraction, tuple) else (1 - fraction, fraction)
    try:
        parts = stratified_split(labels, fraction, seed)
    except ValueError as error:
        assert "would be empty" in str(error)
        assert np.unique(labels, return_counts=True)[1].max() < len(shares)
        return
    assert len(parts) == len(shares)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part in parts:
        assert part.dtype == np.int64 and np.all(np.diff(part) > 0)
    for k in np.unique(labels):
        counts = [int((labels[part] == k).sum()) for part in parts]
        size = sum(counts)
        assert all(count >= 1 for count in counts[: min(size, len(parts))])
        for count, share in zip(counts[1:], shares[1:], strict=True):
            assert count <= max(1, np.ceil(size * share - 1e-6))


@given(sizes=st.lists(st.integers(40, 90), min_size=1, max_size=9), fraction=FRACTIONS)
def test_large_classes_get_their_share_within_one_and_parts_their_size(sizes, fraction):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shares = fraction if isinstance(fraction, tuple) else (1 - fraction, fraction)
    parts = stratified_split(labels, fraction, 0)
    for part, share in zip(parts[1:], shares[1:], strict=True):
        assert len(part) == np.ceil(len(labels) * share - 1e-6)
        counts = np.bincount(labels[part], minlength=len(sizes))
        assert np.all(np.abs(counts - np.array(sizes) * share) < 1)


def test_split_of_a_seed_is_pinned():
    train, validation = stratified_split([0, 1, 2] * 7, 0.25, 1)
    assert validation.tolist() == [2, 4, 6, 9, 11, 16]
    assert len(train) == 15


def test_split_sizes_of_round_shares_are_exact():
    # 3000 * 0.1 is 300.00000000000006 in floating point.
    parts = stratified_split(np.arange(3000) % 3, (0.8, 0.1, 0.1), 0)
    assert [len(part) for part in parts] == [2400, 300, 300]


def test_split_is_random_within_a_class_and_differs_by_seed():
    labels = np.zeros(200, np.uint8)
    a, b = (stratified_split(labels, 0.5, seed)[1] for seed in (0, 1))
    assert 30 < len(np.intersect1d(a, b)) < 70  # 50 expected, standard deviation 3.5
    assert 30 < (a < 100).sum() < 70


def test_class_with_one_sample_stays_in_the_first_part():
    train, validation = stratified_split([5, 0, 0, 0, 0], 0.5, 0)
    assert 0 in train and 0 not in validation


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan")])
def test_fraction_outside_zero_one_is_a_value_error(fraction):
    with pytest.raises(ValueError, match="share must lie between 0 and 1, got fraction="):
        stratified_split([0, 0, 1, 1], fraction, 0)


@pytest.mark.parametrize("shares", [(), (1.0,), (0.5, 0.4), (0.5, 0.6)])
def test_shares_that_do_not_add_up_are_a_value_error(shares):
    with pytest.raises(ValueError, match="must add up to 1, got"):
        stratified_split([0, 0, 1, 1], shares, 0)


@pytest.mark.parametrize(
    ("labels", "fraction"), [([0, 1, 2], 0.5), ([0, 0, 1, 1], (0.8, 0.1, 0.1))]
)
def test_too_few_samples_for_every_part_is_a_value_error(labels, fraction):
    with pytest.raises(ValueError, match="part . would be empty; add samples"):
        stratified_split(labels, fraction, 0)


def test_no_samples_is_a_value_error():
    with pytest.raises(ValueError, match="cannot split 0 samples"):
        stratified_split([], 0.5, 0)
