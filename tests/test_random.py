"""The streams: pinned values, an independent Philox, and the statistics of the conversions."""

import math
import subprocess
import sys

import numpy as np
import pytest

from minicnn import random

MASK = 2**64 - 1

# Made once by this module; any change to them breaks saved runs and splits.
PINNED_BITS = [17712232589454860709, 15112295160826326475]
PINNED_UNIFORM = [1042206876, 1059158287, 1050886594]
PINNED_NORMAL = [1039302111, 1058111559, 1060261314, 3204982654, 3217492564]
PINNED_PERMUTATION = [4, 5, 0, 2, 1, 7, 9, 8, 6, 3]
PINNED_DIGEST = "b72d5916d4b8b398e10af72a246f628bae33474f9e0bf1c705bb5c0dcc42b8d9"


def philox4x64(counter, key):
    """Philox4x64-10 on Python integers, after the paper: the check on where our words go."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        product0 = 0xD2E7470EE14C6C93 * x0
        product1 = 0xCA5A826395121157 * x2
        x0, x1, x2, x3 = (
            (product1 >> 64) ^ x1 ^ k0, product1 & MASK, (product0 >> 64) ^ x3 ^ k1, product0 & MASK
        )  # fmt: skip
        k0 = (k0 + 0x9E3779B97F4A7C15) & MASK
        k1 = (k1 + 0xBB67AE8584CAA73B) & MASK
    return [x0, x1, x2, x3]


def test_philox_known_answer_matches_the_published_vectors():
    # Known-answer vectors of the authors' Random123 library.
    assert philox4x64([0] * 4, [0] * 2) == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B
    ]  # fmt: skip
    assert philox4x64([MASK] * 4, [MASK] * 2) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0
    ]  # fmt: skip


@pytest.mark.parametrize("stream", [(), (1,), (2, 7), (4, 2**64 - 1, 12345)])
def test_bits_of_a_stream_are_philox_of_seed_and_stream(stream):
    seed = 2**63 + 5
    words = [*stream, *[0] * (3 - len(stream))]
    expected = []
    for block in (1, 2, 3):  # the generator counts up before its first block
        expected += philox4x64([block, *words], [seed, len(stream)])
    assert random.bits(11, seed, *stream).tolist() == expected[:11]


def test_values_are_pinned_on_every_machine():
    assert random.bits(2, 0, random.INIT).tolist() == PINNED_BITS
    assert random.uniform(3, 1, random.INIT, 2).view(np.uint32).tolist() == PINNED_UNIFORM
    assert random.normal(5, 1, random.INIT, 2).view(np.uint32).tolist() == PINNED_NORMAL
    assert random.permutation(10, 3, random.SHUFFLE, 4).tolist() == PINNED_PERMUTATION


def test_normal_many_values_have_a_pinned_digest():
    """100,000 values reach every branch of the conversion; one changed bit changes the digest."""
    from hashlib import sha256

    values = random.normal(100_000, 5, random.INIT).astype("<f4")
    assert sha256(values.tobytes()).hexdigest() == PINNED_DIGEST


@pytest.mark.parametrize("draw", [random.bits, random.uniform, random.normal])
def test_draw_of_more_values_begins_with_the_shorter_draw(draw):
    long = draw(101, 9, 1, 2)
    for n in (0, 1, 2, 7, 100):
        assert np.array_equal(draw(n, 9, 1, 2), long[:n])


def test_streams_that_differ_anywhere_share_no_word():
    streams = [(0,), (1,), (0, 0), (1, 0), (0, 1), (0, 0, 0), (1, 0, 0), (0, 0, 1)]
    words = [random.bits(64, seed, *stream) for seed in (0, 1) for stream in streams]
    words += [random.bits(64, seed) for seed in (0, 1)]
    assert len(np.unique(np.concatenate(words))) == 64 * len(words)


def test_uniform_shape_dtype_and_bounds():
    x = random.uniform((50, 20, 10), 0, random.INIT, low=-0.25, high=0.5)
    assert x.shape == (50, 20, 10) and x.dtype == np.float32 and x.flags.c_contiguous
    assert x.min() >= -0.25 and x.max() < 0.5
    assert random.uniform((), 0).shape == ()
    assert random.uniform((3, 0), 0).shape == (3, 0)
    assert np.all(random.uniform(10, 0, low=2, high=2) == 2)


def test_uniform_is_flat():
    # 64 bins of 1,000: chi-square with 63 degrees of freedom is 63 +- 11; 130 is six sigma.
    counts, _ = np.histogram(random.uniform(64_000, 11, 1), bins=64, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 130


def test_normal_has_the_moments_and_tails_of_a_normal():
    n = 1_000_000
    x = random.normal(n, 3, random.INIT).astype(np.float64)
    # Standard errors: mean 1e-3, variance 1.4e-3, skewness 2.4e-3, kurtosis 4.9e-3; five of each.
    assert abs(x.mean()) < 5e-3
    assert abs(x.var() - 1) < 7e-3
    assert abs((x**3).mean()) < 2e-2
    assert abs((x**4).mean() - 3) < 5e-2
    for z in (-2.5, -1.0, -0.3, 0.0, 0.5, 1.5, 3.0):
        expected = (1 + math.erf(z / math.sqrt(2))) / 2
        assert abs((x < z).mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / n)
    pairs = x.reshape(-1, 2)
    assert abs((pairs[:, 0] * pairs[:, 1]).mean()) < 5 * math.sqrt(2 / n)
    assert abs((pairs[:, 0] ** 2 * pairs[:, 1] ** 2).mean() - 1) < 5 * math.sqrt(16 / n)


def test_normal_conversion_agrees_with_the_math_library():
    u = np.concatenate([(random.bits(10_000, 1) >> np.uint64(11)) * 2.0**-53, [2.0**-53, 0.5, 1.0]])
    np.testing.assert_allclose(random._log(u), np.log(u), rtol=0, atol=1e-12 * 37)
    near_one = 1 - np.arange(1, 100) * 2.0**-53
    np.testing.assert_allclose(random._log(near_one), np.log(near_one), rtol=1e-12)
    a = np.linspace(-math.pi / 4, math.pi / 4, 10_001)
    cos, sin = random._cos_sin(a)
    np.testing.assert_allclose(cos, np.cos(a), rtol=0, atol=1e-12)
    np.testing.assert_allclose(sin, np.sin(a), rtol=0, atol=1e-12)


def test_normal_of_extreme_words_is_finite(monkeypatch):
    extremes = np.array([0, 0, 0, MASK, MASK, 0, MASK, MASK, 0, 1, 0, 2, 0, 3], np.uint64)
    monkeypatch.setattr(random, "bits", lambda n, *_: extremes[:n])
    x = random.normal(len(extremes), 0)
    assert np.isfinite(x).all() and np.abs(x).max() <= math.sqrt(2 * 53 * math.log(2)) * (1 + 1e-6)
    assert np.all(x[[0, 1, 2, 3, 8, 9, 10, 11, 12, 13]] == 0)  # word 0 is radius 0


@pytest.mark.parametrize("n", [0, 1, 2, 10, 1000])
def test_permutation_holds_every_number_once(n):
    order = random.permutation(n, 0, random.SHUFFLE)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_permutation_reaches_every_order_equally_often():
    orders = [tuple(random.permutation(3, 0, random.SHUFFLE, i).tolist()) for i in range(3000)]
    counts = np.unique(np.array(orders), axis=0, return_counts=True)[1]
    # Six orders, 500 +- 20 each; chi-square with 5 degrees of freedom exceeds 30 once in 10^5.
    assert len(counts) == 6 and ((counts - 500) ** 2 / 500).sum() < 30


def test_permutation_with_equal_words_keeps_their_order(monkeypatch):
    words = random.bits(5000, 0) % np.uint64(3)
    monkeypatch.setattr(random, "bits", lambda n, *_: words[:n])
    order = random.permutation(5000, 0)
    assert np.array_equal(order, np.concatenate([np.flatnonzero(words == k) for k in range(3)]))


@pytest.mark.parametrize("seed", [-1, 2**64, 2**200])
def test_seed_out_of_range_is_a_value_error(seed):
    with pytest.raises(ValueError, match=r"seed must be in 0 \.\.\. 2\*\*64 - 1, got"):
        random.bits(1, seed)


@pytest.mark.parametrize("seed", [1.0, "1", None, [1]])
def test_seed_of_a_wrong_type_is_a_type_error(seed):
    with pytest.raises(TypeError, match="seed must be an integer, got"):
        random.uniform(1, seed)


def test_stream_errors_name_the_stream():
    with pytest.raises(ValueError, match="each stream number must be in .* got -1"):
        random.bits(1, 0, -1)
    with pytest.raises(TypeError, match="each stream number must be an integer, got 0.5"):
        random.normal(1, 0, 0.5)
    with pytest.raises(ValueError, match="up to three integers, got 4"):
        random.bits(1, 0, 1, 2, 3, 4)


@pytest.mark.parametrize("shape", [-1, (2, -3)])
def test_shape_negative_is_a_value_error(shape):
    with pytest.raises(ValueError, match="each size of the shape must be in"):
        random.uniform(shape, 0)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.inf)])
def test_uniform_bad_bounds_are_a_value_error(low, high):
    with pytest.raises(ValueError, match="low and high must be finite"):
        random.uniform(1, 0, low=low, high=high)


def test_numpy_integers_are_accepted_as_seeds():
    assert random.bits(3, np.uint64(MASK), np.int8(2)).tolist() == random.bits(3, MASK, 2).tolist()


def test_import_leaves_numpy_random_unloaded():
    code = "import sys, numpy; before = 'numpy.random' in sys.modules; import minicnn.random; " \
           "sys.exit(not before and 'numpy.random' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
