"""Finding what is alike: the search against comparing each with each."""

import itertools

import numpy as np
import pytest

from minicnn.inspection import neighbours
from minicnn.inspection.neighbours import alike, alike_leaders, close_codes, correlation, gather


def brute_force(codes, bits):
    different = np.bitwise_count(codes[:, None] ^ codes)
    one, other = np.nonzero(np.triu(different <= bits, 1))
    return set(zip(one.tolist(), other.tolist(), strict=True))


def flipped(code, places):
    for place in places:
        code ^= np.uint64(1) << np.uint64(place)
    return code


def found(codes, bits):
    return {
        pair
        for one, other in close_codes(codes, bits)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }


@pytest.mark.parametrize("bits", [0, 3, 4, 10, 11])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_close_codes_are_those_that_comparing_all_finds(monkeypatch, bits, chunk):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**64, 40, dtype=np.uint64)
    # Neighbours at every distance around the limit, with the differing places anywhere.
    near = [flipped(codes[k % 40], rng.permutation(64)[: k % 16]) for k in range(120)]
    codes = np.concatenate([codes, np.array(near, np.uint64)])
    expected = brute_force(codes, bits)
    assert len(expected) > 10
    assert found(codes, bits) == expected


def test_close_codes_with_differences_shared_out_as_badly_as_can_be():
    code = np.uint64(0x0123456789ABCDEF)
    worst = [0, 1, 2, 16, 17, 18, 32, 33, 48, 49]  # 3, 3, 2 and 2 of the 16 bits of each band
    assert found(np.array([code, flipped(code, worst)]), 10) == {(0, 1)}
    assert found(np.array([code, flipped(code, [*worst, 50])]), 10) == set()


@pytest.mark.parametrize("bits", [0, 10])
def test_close_codes_of_other_views_are_those_that_comparing_all_finds(bits):
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**64, 80, dtype=np.uint64)
    order = rng.permutation(80)
    views = np.array([flipped(codes[order[k]], rng.permutation(64)[: k % 14]) for k in range(80)])
    different = np.bitwise_count(views[:, None] ^ codes)
    one, other = np.nonzero(different <= bits)
    expected = {(a, b) for a, b in zip(one.tolist(), other.tolist(), strict=True) if a != b}
    pairs = close_codes(codes, bits, views)
    got = {p for one, other in pairs for p in zip(one.tolist(), other.tolist(), strict=True)}
    assert got == expected and len(expected) > 4


def test_close_codes_of_none_are_none():
    assert found(np.empty(0, np.uint64), 10) == set()


def test_correlation_is_numpys_and_zero_without_contrast():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 5, 256), dtype=np.uint8)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected, atol=1e-12)  # float64, 256 terms
    assert correlation(a, np.full_like(a, 9)).tolist() == [0] * 5


def groups(pairs, count):
    """Which positions the pairs connect."""
    names = list(range(count))
    for a, b in pairs:
        names = [names[a] if name == names[b] else name for name in names]
    return {frozenset(k for k in range(count) if names[k] == name) for name in names}


def test_alike_needs_close_codes_and_like_thumbnails():
    rng = np.random.default_rng(2)
    thumbnails = rng.integers(0, 256, (6, 256), dtype=np.uint8)
    thumbnails[1] = thumbnails[0]  # close codes, same look
    thumbnails[3] = thumbnails[2]  # same look, other codes
    codes = rng.integers(0, 2**64, 6, dtype=np.uint64)
    codes[1] = flipped(codes[0], range(10))
    codes[5] = codes[4]  # same code, other look
    expected = {frozenset(k) for k in ({0, 1}, {2}, {3}, {4}, {5})}
    pairs = alike(codes, thumbnails)
    assert groups(pairs, 6) == expected and pairs == [(0, 1)]


def test_leaders_are_compared_in_another_view():
    rng = np.random.default_rng(5)
    thumbnails = rng.integers(0, 256, (5, 256), dtype=np.uint8)
    codes = rng.integers(0, 2**64, 5, dtype=np.uint64)
    views, looks = codes.copy(), thumbnails.copy()  # symmetric: alike to themselves, no pair
    codes[3], thumbnails[3] = flipped(views[1], range(4)), looks[1]
    views[4] = codes[0]  # close code, other look
    leaders, pairs = gather(codes, thumbnails)
    assert pairs == [] and leaders.tolist() == np.argsort(codes).tolist()
    assert alike_leaders(leaders, codes, thumbnails, views, looks) == [(1, 3)]


def test_many_with_one_code_are_connected_with_few_pairs():
    rng = np.random.default_rng(3)
    looks = rng.integers(0, 200, (2, 256), dtype=np.uint8)
    thumbnails = np.array([looks[k % 2] + rng.integers(0, 3, 256) for k in range(60)], np.uint8)
    pairs = alike(np.zeros(60, np.uint64), thumbnails)
    assert len(pairs) == 58
    assert groups(pairs, 60) == {frozenset(range(0, 60, 2)), frozenset(range(1, 60, 2))}


def test_pictures_without_contrast_are_not_compared():
    thumbnails = np.full((3, 256), 80, np.uint8) + np.arange(256, dtype=np.uint8) % 4
    assert alike(np.zeros(3, np.uint64), thumbnails) == []
    assert alike(np.empty(0, np.uint64), np.empty((0, 256), np.uint8)) == []


def test_search_looks_at_few_pairs_of_many(monkeypatch):
    looked_at = itertools.count()
    plain = neighbours._ranges

    def counting(first, count):
        for one, place in plain(first, count):
            for _ in one:
                next(looked_at)
            yield one, place

    monkeypatch.setattr(neighbours, "_ranges", counting)
    codes = np.random.default_rng(4).integers(0, 2**64, 3000, dtype=np.uint64)
    assert found(codes, 10) == set()
    # Expected 4 bands · 137 masks · 3000 · 3000 / 65536 = 75,000; all pairs are 4.5 million.
    assert next(looked_at) < 150_000
