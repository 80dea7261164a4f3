"""Which of very many pictures are alike, without comparing each with each.

Two codes of 64 bits that differ in at most ten places differ in at most two places in one of four
bands of 16 bits. So every code is looked up, band by band, under the 137 values that differ in
up to two places from its own: work in proportion to the number of pictures as long as the codes
spread. (Norouzi, Punjani, Fleet: "Fast Exact Search in Hamming Space with Multi-Index Hashing",
2014.) What is found is confirmed by the correlation of the thumbnails.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BITS = 10  # most places in which the codes of two copies differ
ALIKE = 0.9  # least correlation of their thumbnails
CONTRAST = 3.0  # grey levels of standard deviation below which a picture has no features
BANDS = 4
WIDTH = 64 // BANDS
CHUNK = 1 << 20  # pairs that are looked at together

Codes = NDArray[np.uint64]
Thumbnails = NDArray[np.uint8]
Places = NDArray[np.int64]
Pair = tuple[int, int]


def alike(codes: Codes, thumbnails: Thumbnails) -> list[Pair]:
    """Pairs of positions whose pictures are alike, enough to connect all that belong together.

    Parameters
    ----------
    codes : (N,) uint64
        Of pictures with different pixels.
    thumbnails : (N, P) uint8

    Returns
    -------
    list of (int, int)
        Of three pictures that are alike, two pairs may stand for the third.
    """
    leaders, pairs = gather(codes, thumbnails)
    return pairs + alike_leaders(leaders, codes, thumbnails)


def alike_leaders(
    leaders: Places,
    codes: Codes,
    thumbnails: Thumbnails,
    views: Codes | None = None,
    looks: Thumbnails | None = None,
) -> list[Pair]:
    """Pairs of leaders that are alike, or of which one is in another view as the other one is.

    Parameters
    ----------
    leaders : (L,) int64
        From `gather`: each of the others is alike to one of them.
    codes, thumbnails : (N,) uint64, (N, P) uint8
    views, looks : (N,) uint64, (N, P) uint8, optional
        The same of another view, such as the mirrored pictures.
    """
    found: set[Pair] = set()
    seen = thumbnails if looks is None else looks
    for one, other in close_codes(codes[leaders], BITS, None if views is None else views[leaders]):
        a, b = leaders[one], leaders[other]
        same = correlation(seen[a], thumbnails[b]) >= ALIKE
        low, high = np.minimum(a, b)[same], np.maximum(a, b)[same]
        found.update(zip(low.tolist(), high.tolist(), strict=True))
    return sorted(found)


def gather(codes: Codes, thumbnails: Thumbnails) -> tuple[Places, list[Pair]]:
    """Leaders for the pictures of each code, and pairs that connect them with the others.

    Many pictures with one code would be many pairs if each were compared with each. Pictures
    without contrast have no leader: nothing can be said of them.
    """
    usable = np.flatnonzero(thumbnails.std(axis=1) >= CONTRAST)
    pairs: list[Pair] = []
    leaders: list[int] = []
    order = usable[np.argsort(codes[usable], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    for group in np.split(order, starts):
        while len(group):
            first, rest = int(group[0]), group[1:]
            leaders.append(first)
            same = correlation(thumbnails[[first] * len(rest)], thumbnails[rest]) >= ALIKE
            pairs += [(first, int(k)) for k in rest[same]]
            group = rest[~same]
    return np.array(leaders, np.int64), pairs


def correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pearson's correlation of the rows of two (N, P) arrays; 0 where one has no contrast."""
    x, y = (v - v.mean(axis=1, keepdims=True, dtype=np.float64) for v in (a, b))
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    result: NDArray[np.float64] = np.zeros(len(x))
    np.divide((x * y).sum(axis=1), scale, out=result, where=scale > 0)
    return result


def close_codes(
    codes: Codes, bits: int, wanted: Codes | None = None
) -> Iterator[tuple[Places, Places]]:
    """All pairs of positions whose codes differ in at most `bits` places, in blocks.

    A pair may come more than once, with the smaller position first.

    Parameters
    ----------
    codes : (N,) uint64
    bits : int
        At most 4 * 3 - 1: each band is searched up to bits // 4 places.
    wanted : (N,) uint64, optional
        Other codes of the same pictures: pairs are then of a code in `wanted` and one in `codes`,
        at two positions in any order.
    """
    masks = _masks(bits // BANDS)
    sought = codes if wanted is None else wanted
    for band in range(BANDS):
        keys = _band(codes, band)
        order = np.argsort(keys, kind="stable")
        starts = np.zeros((1 << WIDTH) + 1, np.int64)
        np.cumsum(np.bincount(keys, minlength=1 << WIDTH), out=starts[1:])
        asked = _band(sought, band)
        for mask in masks:
            key = asked ^ mask
            first, count = starts[key], starts[key + 1] - starts[key]
            for one, place in _ranges(first, count):
                other = order[place]
                near = np.bitwise_count(sought[one] ^ codes[other]) <= bits
                near &= one < other if wanted is None else one != other
                if near.any():
                    yield one[near], other[near]


def _band(codes: Codes, band: int) -> Places:
    """WIDTH bits of each code."""
    return (codes >> np.uint64(WIDTH * band) & np.uint64((1 << WIDTH) - 1)).astype(np.int64)


def _masks(places: int) -> list[int]:
    """All numbers of WIDTH bits with at most so many ones."""
    return [
        sum(1 << bit for bit in bits)
        for n in range(places + 1)
        for bits in itertools.combinations(range(WIDTH), n)
    ]


def _ranges(first: Places, count: Places) -> Iterator[tuple[Places, Places]]:
    """Blocks of (i, k) for every i and k = first[i] … first[i] + count[i] - 1."""
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + CHUNK)), start + 1)
        some = np.arange(start, stop)
        owner = np.repeat(some, count[start:stop])
        within = np.arange(len(owner)) - np.repeat(ends[start:stop] - count[start:stop] - before,
                                                   count[start:stop])  # fmt: skip
        if len(owner):
            yield owner, first[owner] + within
        start = stop
