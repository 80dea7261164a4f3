"""Dropout kernels: the published generator, the documented counters, the statistics."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close, assert_same_bits

from kernels.harness import Out, float32, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels import dropout

LOW = 0xFFFFFFFF


def expected_mask(count, p, seed, step, layer):
    """Element i takes word i % 4 of counter (i // 4, layer, step) under the key seed."""
    words = []
    for group in range(-(-count // 4)):
        counter = (group, layer, step & LOW, step >> 32)
        words += reference.philox4x32(counter, (seed & LOW, seed >> 32))
    return (np.array(words[:count], np.uint64) / 2**32 >= p).astype(np.uint8)


def draw(count, p, seed=1, step=0, layer=0):
    """A mask of the kernel."""
    x = np.ones(count, np.float32)
    outputs = Out((count,)), Out((count,), np.uint8)
    return run(dropout.dropout_forward, x, *outputs, p, seed, step, layer)[1]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([LOW] * 4, [LOW] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox4x32_gives_the_published_words(counter, key, words):
    out = np.zeros(4, np.uint32)
    dropout.philox4x32(np.array(counter, np.uint32), np.array(key, np.uint32), out)
    assert out.tolist() == words


def test_philox4x32_wrong_lengths_are_refused():
    for lengths in ((3, 2, 4), (4, 1, 4), (4, 2, 5), (0, 2, 4)):
        arrays = [np.zeros(length, np.uint32) for length in lengths]
        with pytest.raises(ValueError, match="has shape"):
            dropout.philox4x32(*arrays)
        assert not arrays[2].any()


def test_dropout_equals_oracle_for_every_length_and_counter():
    for case in range(110):
        rng = np.random.default_rng(case)
        count = case + 1 if case < 70 else int(rng.integers(1, 300))
        p = [0.5, 0.1, 0.9, 1 / 3, float(rng.random())][case % 5]
        seed, step = (int(rng.integers(0, 2**63)) * 2 + 1 for _ in range(2))
        layer = int(rng.integers(0, 2**32))
        x, dy = normal(rng, count), normal(rng, count)
        y, mask = run(
            dropout.dropout_forward, x, Out((count,)), Out((count,), np.uint8), p, seed, step, layer
        )
        assert_same_bits(mask, expected_mask(count, p, seed, step, layer))
        zeros = not mask.any()
        scaled = reference.dropout_apply(x, mask, p)
        assert_close(y, scaled, 2 * UNIT_ROUNDOFF, may_be_zero=zeros)
        dx = run(dropout.dropout_backward, dy, mask, Out((count,)), p)
        scaled = reference.dropout_backward(dy, mask, p)
        assert_close(dx, scaled, 2 * UNIT_ROUNDOFF, may_be_zero=zeros)


@pytest.mark.parametrize("count", [8191, 8192, 8193, 30001])
def test_dropout_long_masks_are_independent_of_blocks_and_threads(count):
    assert_same_bits(draw(count, 0.5)[:8000], draw(8000, 0.5))
    assert_same_bits(draw(count, 0.5)[-40:], expected_mask(count, 0.5, 1, 0, 0)[-40:])


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.8])
def test_dropout_keep_rate_and_mean_are_right(p):
    count = 200_000
    rate = draw(count, p).mean()
    assert abs(rate - (1 - p)) < 5 * np.sqrt(p * (1 - p) / count)  # five standard deviations
    x, outputs = np.ones(count, np.float32), (Out((count,)), Out((count,), np.uint8))
    y, _ = run(dropout.dropout_forward, x, *outputs, p, 1, 0, 0)
    assert abs(y.mean() - 1) < 5 * np.sqrt(p / (1 - p) / count)


def test_dropout_masks_of_other_seeds_steps_and_layers_are_unrelated():
    count = 40_000
    keys = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 2**32, 0), (2**32, 0, 0), (0, 0, 1)]
    masks = [draw(count, 0.5, *key) for key in keys]
    for number, mask in enumerate(masks):
        for other in masks[:number]:
            assert abs((mask == other).mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    assert_same_bits(draw(count, 0.5, *keys[0]), masks[0])


def test_dropout_p_zero_is_identity_and_p_one_is_zero():
    x = float32([1.0, -2.0, np.nan, np.inf, -np.inf, 0.0])
    outputs = Out(x.shape), Out(x.shape, np.uint8)
    y, mask = run(dropout.dropout_forward, x, *outputs, 0.0, 7, 0, 0)
    assert_same_bits(y, x)
    assert mask.all()
    y, mask = run(dropout.dropout_forward, x, *outputs, 1.0, 7, 0, 0)
    assert_same_bits(y, np.zeros_like(x))
    assert not mask.any()
    assert_same_bits(run(dropout.dropout_backward, x, mask, Out(x.shape), 1.0), np.zeros_like(x))


def test_dropout2d_equals_oracle_plane_by_plane():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        N, C, S = (int(i) for i in rng.integers(1, 9, 3))
        x, dy = normal(rng, N, C, S), normal(rng, N, C, S)
        outputs = Out(x.shape), Out((N, C), np.uint8)
        y, mask = run(dropout.dropout2d_forward, x, *outputs, 0.4, seed, 3, 1)
        assert_same_bits(mask, expected_mask(N * C, 0.4, seed, 3, 1).reshape(N, C))
        whole, zeros = np.broadcast_to(mask[:, :, None], x.shape), not mask.any()
        scaled = reference.dropout_apply(x, whole, 0.4)
        assert_close(y, scaled, 2 * UNIT_ROUNDOFF, may_be_zero=zeros)
        dx = run(dropout.dropout2d_backward, dy, mask, Out(x.shape), 0.4)
        scaled = reference.dropout_backward(dy, whole, 0.4)
        assert_close(dx, scaled, 2 * UNIT_ROUNDOFF, may_be_zero=zeros)


def test_dropout2d_other_channels_drop_in_other_steps():
    x, outputs = np.ones((1, 16, 4), np.float32), (Out((1, 16, 4)), Out((1, 16), np.uint8))
    masks = np.array(
        [run(dropout.dropout2d_forward, x, *outputs, 0.5, 1, step, 0)[1][0] for step in range(64)]
    )
    assert len({mask.tobytes() for mask in masks}) == 64
    kept = masks.mean(axis=0)  # each channel is sometimes kept, sometimes dropped
    assert np.abs(kept - 0.5).max() < 5 * 0.5 / np.sqrt(64)


def test_dropout_p_outside_zero_and_one_is_refused():
    x, mask = np.ones(4, np.float32), np.ones(4, np.uint8)
    outputs = Out((4,)), Out((4,), np.uint8)
    for p in (-1e-9, 1.0000001, np.nan, np.inf, -np.inf):
        refuse(dropout.dropout_forward, x, *outputs, p, 1, 0, 0, match="p must be between 0 and 1")
        refuse(dropout.dropout_backward, x, mask, Out((4,)), p, match="p must be between 0 and 1")


@pytest.mark.parametrize(
    ("number", "name", "bits"), [(0, "seed", 64), (1, "step", 64), (2, "layer", 32)]
)
def test_dropout_counter_out_of_range_is_refused(number, name, bits):
    x, outputs = np.ones(4, np.float32), (Out((4,)), Out((4,), np.uint8))
    for value in (-1, 2**bits, 2**bits + 1, 2**80, -(2**63)):
        keys = [1, 0, 0]
        keys[number] = value
        refuse(dropout.dropout_forward, x, *outputs, 0.5, *keys, match=name)
    keys[number] = 1.5
    refuse(dropout.dropout_forward, x, *outputs, 0.5, *keys, match="int", error=TypeError)
    keys[number] = 2**bits - 1
    run(dropout.dropout_forward, x, *outputs, 0.5, *keys)


def test_dropout_shapes_that_disagree_are_refused():
    x, mask, numbers = np.ones(4, np.float32), np.ones(4, np.uint8), (0.5, 1, 0, 0)
    for length in (0, 3, 5):
        outputs = Out((length,)), Out((4,), np.uint8)
        refuse(dropout.dropout_forward, x, *outputs, *numbers, match="y has shape")
        outputs = Out((4,)), Out((length,), np.uint8)
        refuse(dropout.dropout_forward, x, *outputs, *numbers, match="mask has shape")
        refuse(dropout.dropout_backward, x, mask, Out((length,)), 0.5, match="dx has shape")
        short = np.ones(length, np.uint8)
        refuse(dropout.dropout_backward, x, short, Out((4,)), 0.5, match="mask has shape")
    planes = np.ones((2, 3, 4), np.float32)
    for shape in ((3, 2), (2, 4), (1, 3), (0, 0)):
        outputs = Out(planes.shape), Out(shape, np.uint8)
        refuse(dropout.dropout2d_forward, planes, *outputs, *numbers, match="mask has shape")
        wrong = np.ones(shape, np.uint8)
        refuse(
            dropout.dropout2d_backward, planes, wrong, Out(planes.shape), 0.5,
            match="mask has shape",
        )  # fmt: skip


def test_dropout_wrong_arrays_and_threads_are_refused():
    x, mask, numbers = np.ones(4, np.float32), np.ones(4, np.uint8), (0.5, 1, 0, 0)
    planes, kept = np.ones((2, 3, 4), np.float32), np.ones((2, 3), np.uint8)
    for kernel, arguments in (
        (dropout.dropout_forward, (x, Out((4,)), Out((4,), np.uint8), *numbers)),
        (dropout.dropout_backward, (x, mask, Out((4,)), 0.5)),
        (dropout.dropout2d_forward, (planes, Out((2, 3, 4)), Out((2, 3), np.uint8), *numbers)),
        (dropout.dropout2d_backward, (planes, kept, Out((2, 3, 4)), 0.5)),
    ):
        refuse_wrong_arrays(kernel, *arguments)
        refuse_threads(kernel, *arguments)


def test_dropout_no_elements_is_no_work():
    empty = np.empty(0, np.float32)
    outputs = Out((0,)), Out((0,), np.uint8)
    assert run(dropout.dropout_forward, empty, *outputs, 0.5, 1, 0, 0)[0].size == 0
    assert run(dropout.dropout_backward, empty, np.empty(0, np.uint8), Out((0,)), 0.5).size == 0
