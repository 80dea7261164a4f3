"""Ways of channels in the lanes that few nets take: each against the float64 oracle."""

import numpy as np
import pytest
from checks import THREADS, assert_close, assert_same_bits

import minicnn as mc
from engine.agreement import NET_TOLERANCE, batch_of, both_passes, check
from minicnn.engine import isa
from minicnn.engine.description import LOCAL
from minicnn.lowering import choice
from minicnn.lowering.lower import lower


@pytest.fixture(autouse=True)
def channels_in_the_lanes(monkeypatch):
    monkeypatch.setattr(choice, "ACROSS", "channels")


def test_large_maps_that_are_cheap_to_make_are_not_kept():
    net = [mc.Conv2d(3, 8, 3, padding=1), mc.BatchNorm2d(8), mc.ReLU(), mc.Conv2d(8, 8, 3),
           mc.BatchNorm2d(8), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 4)]  # fmt: skip
    model = mc.Sequential(*net, seed=3)
    model(np.zeros((2, 3, 20, 22), np.float32))
    plan = lower(list(model), (3, 20, 22), training=True, across="channels")
    first, _, second, norm, _, *_ = plan.nodes
    made = [call for node in (first, second, norm) for call in node.renewed]
    assert [name for name, _ in made] == [
        "read_planar", "channel_batchnorm_forward", "max_pool_backward"
    ]  # fmt: skip
    again = [made[0][1].x, made[1][1].y, made[2][1].dx]
    kept = [first.op.x, second.op.x, norm.op.dy]
    assert {m.buffer.where for m in (*again, *kept)} == {LOCAL}


@pytest.mark.parametrize("padding", (0, 1))
@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize("pool", (False, True))
def test_a_first_convolution_that_is_little_work_is_made_again(padding, relu, pool):
    bias = relu  # a BatchNorm takes any bias away again
    first = [mc.Conv2d(3, 8, 3, padding=padding, bias=bias), *([mc.ReLU()] if relu else [])]
    norm = [mc.BatchNorm2d(8), mc.ReLU(), *([mc.MaxPool2d(2)] if pool else [])]
    rest = [mc.Conv2d(8, 64, 3, padding=1), mc.Conv2d(64, 192, 3), mc.Linear(None, 4)]
    model = mc.Sequential(*first, *norm, *rest, seed=3)
    operations = check(model, (3, 12, 14))
    made = [op for op in operations if op.packed_of is not None]
    assert [op.packed_of for op in made] == [operations[0]]
    summed = [op for op in operations if op.x is made[0].y and op.running_mean is not None]
    assert len(summed) == 3 - pool  # its gradients' sums, its dx, and the next convolution's x


def test_a_first_convolution_that_is_much_work_is_kept():
    layers = [mc.Conv2d(3, 8, 3, bias=False), mc.BatchNorm2d(8), mc.ReLU(), mc.Linear(None, 4)]
    operations = check(mc.Sequential(*layers, seed=3), (3, 20, 18))
    assert all(op.packed_of is None for op in operations)


@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, (5, 6), (3, 7), (6, 3), (2, 9)])
@pytest.mark.parametrize(("stride", "dilation", "pool"), [(1, 1, 2), (2, 1, 2), (3, 1, (2, 3)),
                                                          (1, 2, 2), (7, 1, (2, 4))])  # fmt: skip
def test_first_convolution_under_a_pool_gives_the_winners_gradients(
    channels, kernel, stride, dilation, pool
):
    conv = mc.Conv2d(channels, 18, kernel, stride, 1, dilation)
    model = mc.Sequential(conv, mc.ReLU(), mc.MaxPool2d(pool), mc.Linear(None, 4), seed=2)
    check(model, (channels, 31, 33), batch=5)


@pytest.mark.parametrize("pool", [1, 3, (1, 2), (3, 2), (2, 1)])
def test_pool_of_any_height_behind_a_first_convolution_is_right(pool):
    model = mc.Sequential(mc.Conv2d(2, 5, 3), mc.MaxPool2d(pool), mc.Linear(None, 3), seed=1)
    check(model, (2, 11, 12))


@pytest.mark.parametrize("channels", (3, 16, 35))
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 2), (5, 1, 3)]
)
def test_convolutions_of_a_single_pixel_are_right(channels, kernel, stride, padding):
    conv = mc.Conv2d(channels, 18, kernel, stride, padding)
    model = mc.Sequential(conv, mc.ReLU(), mc.Conv2d(18, 9, 1), mc.Linear(None, 4), seed=3)
    check(model, (channels, 1, 1))


@pytest.mark.parametrize("width", (4, 6, 9, 16, 19, 35))
@pytest.mark.parametrize(("inputs", "stride", "relu"), [(1, 1, True), (3, 2, True), (2, 3, False),
                                                        (1, 2, True), (17, 1, True)])  # fmt: skip
def test_windows_of_four_pixels_are_right_in_tiles_of_any_width(inputs, stride, relu, width):
    between = [mc.ReLU()] if relu else []
    model = mc.Sequential(
        mc.Conv2d(inputs, 7, 3, stride, 1), *between, mc.MaxPool2d(2), mc.Conv2d(7, 5, 1),
        mc.ReLU(), mc.MaxPool2d(2, ceil_mode=True), mc.Linear(None, 3), seed=7,
    )  # fmt: skip
    shape = (inputs, 5 * stride, width * stride)
    x, _ = batch_of(model, shape)
    y, _, _ = both_passes(model, x, batch_of(model, shape)[1])
    check(model, shape)
    assert_close(model.logits(x), y, NET_TOLERANCE, np.abs(y).max())


@pytest.mark.parametrize("inputs", (1, 2, 3, 4, 5, 8, 9))
@pytest.mark.parametrize(("kernel", "padding", "size"), [
    (3, 1, (6, 7)), (5, 0, (14, 14)), ((2, 4), (3, 1), (5, 3)), ((1, 3), 0, (4, 5)), (3, 2, (1, 1)),
    ((7, 2), (3, 0), (3, 9)),
])  # fmt: skip
def test_input_gradient_of_few_channels_sums_pixels_side_by_side(inputs, kernel, padding, size):
    first = mc.Conv2d(2, inputs, 1)
    conv = mc.Conv2d(inputs, 5, kernel, padding=padding)
    operations = check(
        mc.Sequential(first, mc.ReLU(), conv, mc.Linear(None, 3), seed=3), (2, *size)
    )
    lanes = {"avx512": 16, "avx2": 8, "generic": 4}[isa()]
    room = next(room for room in (4, 8, 16) if room >= inputs)
    assert max(o.side for o in operations) == max(1, lanes // room)


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "stride"), [
    (33, 40, 3, 2), (17, 65, 3, 2), (20, 18, (3, 2), 2), (48, 16, 2, 1), (19, 70, 3, 3),
])  # fmt: skip
@pytest.mark.parametrize("bias", (True, False))
def test_deep_convolution_sums_its_weight_gradients_over_the_batch(
    inputs, outputs, kernel, stride, bias
):
    first, deep = mc.Conv2d(2, inputs, 3), mc.Conv2d(inputs, outputs, kernel, stride, bias=bias)
    model = mc.Sequential(first, mc.ReLU(), deep, mc.ReLU(), mc.Linear(None, 3), seed=5)
    operations = check(model, (2, 7, 7), batch=11)
    assert [o.over_batch for o in operations[:2]] == [False, True]


def small_seed_net():
    return mc.Sequential(
        mc.Conv2d(3, 16, 3, 2), mc.ReLU(), mc.MaxPool2d(2), mc.Conv2d(16, 20, 3, 2), mc.ReLU(),
        mc.Dropout(0.2), mc.Conv2d(20, 24, 3, 2), mc.ReLU(), mc.Flatten(), mc.Linear(None, 3),
        seed=6,
    )  # fmt: skip


def steps(batch, threads):
    """Losses of five steps, the parameters after them, and whether they were in one stage."""
    mc.set_num_threads(threads)
    model = small_seed_net().build((3, 47, 45))
    g = np.random.default_rng(batch)
    x = g.normal(size=(batch, 3, 47, 45)).astype(np.float32)
    y = g.integers(0, 3, batch)
    moved = mc.SGD(model.parameters(), lr=1e-2)
    losses = [model.train_step(x, y, mc.CrossEntropyLoss(), moved) for _ in range(5)]
    one_stage = any(key[5] and made for key, made in model.pass_cache.made.items())
    return np.array(losses), model.flat_parameters.copy(), one_stage


@pytest.mark.parametrize("batch", (1, 2, 9, 19))
def test_steps_in_one_stage_move_the_parameters_as_the_layers_do(batch):
    losses, parameters, one_stage = steps(batch, 1)
    assert one_stage
    mc.set_engine(False)
    try:
        expected_losses, expected, one_stage = steps(batch, 1)
    finally:
        mc.set_engine(True)
    assert not one_stage
    assert_close(losses, expected_losses, 1e-5, expected_losses.max())
    assert_close(parameters, expected, 1e-5, np.abs(expected).max())


@pytest.mark.parametrize("batch", (1, 7, 16))
def test_steps_in_one_stage_are_the_same_bits_for_any_number_of_threads(batch, monkeypatch):
    monkeypatch.setattr("minicnn.lowering.passes.SMALL", 0)
    losses, parameters, _ = steps(batch, 1)
    for threads in THREADS[1:]:
        again, moved, _ = steps(batch, threads)
        assert_same_bits(again, losses)
        assert_same_bits(moved, parameters)


@pytest.mark.parametrize("first", [lambda: mc.Conv2d(3, 4, 3), mc.Flatten])
def test_images_in_read_only_memory_are_only_read(first, tmp_path):
    """Writing to such pages would end the process, even if it changed nothing."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("f4"))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = mc.Sequential(first(), mc.ReLU(), mc.Linear(None, 3), seed=1).build(x.shape[1:])
    model.train_step(x, np.arange(4) % 3, mc.CrossEntropyLoss(), mc.SGD(model.parameters(), 0.1))
    assert model.predict(x).shape == (4,)


@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "padding", "size"), [
    (6, 16, 5, 0, (14, 14)), (1, 3, 3, 1, (6, 7)), (8, 21, 3, 1, (9, 8)), (7, 8, 4, 2, (9, 10)),
    (2, 5, (1, 4), (0, 3), (3, 5)), (5, 4, (5, 3), 2, (5, 11)), (3, 33, (5, 2), (4, 0), (4, 9)),
])  # fmt: skip
def test_gradients_of_few_channels_under_a_pool_are_right(
    inputs, outputs, kernel, padding, size, relu
):
    """`tight_winners.c`: maps without idle lanes; odd sizes leave pixels without a window."""
    layers = [
        mc.Conv2d(2, inputs, 1), mc.ReLU(), mc.Conv2d(inputs, outputs, kernel, padding=padding),
        mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 3),
    ]  # fmt: skip
    kept = [layer for layer in layers if relu or not isinstance(layer, mc.ReLU)]
    operations = check(mc.Sequential(*kept, seed=8), (2, *size))
    assert any(o.tight for o in operations) == (isa() != "generic")


@pytest.mark.parametrize("change", ["stride", "dilation", "channels", "kernel", "pool"])
def test_other_convolutions_under_a_pool_keep_their_lanes(change):
    inputs = 9 if change == "channels" else 4
    kernel = 6 if change == "kernel" else 3
    stride, dilation = 1 + (change == "stride"), 1 + (change == "dilation")
    pool = mc.MaxPool2d(3 if change == "pool" else 2)
    conv = mc.Conv2d(inputs, 5, kernel, stride, 1, dilation)
    model = mc.Sequential(mc.Conv2d(2, inputs, 1), conv, pool, mc.Linear(None, 3), seed=8)
    operations = check(model, (2, 17, 16))
    assert not any(o.tight for o in operations)


@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize(("channels", "outputs", "kernel", "stride", "padding", "size"), [
    (1, 6, 5, 1, 2, (28, 28)), (1, 17, 7, 1, 0, (15, 21)), (2, 3, (9, 8), 1, 4, (11, 10)),
    (3, 4, 5, (2, 1), 1, (19, 12)), (1, 9, (6, 3), (1, 3), 0, (12, 40)), (1, 2, 5, 1, 2, (6, 540)),
    (2, 5, (1, 8), 1, 0, (2, 9)),
])  # fmt: skip
def test_gradients_of_a_first_convolution_under_a_pool_are_right(
    channels, outputs, kernel, stride, padding, size, relu
):
    """`winner_rows.c`: tall kernels in parts, several vectors of outputs, blocks of windows."""
    layers = [
        mc.Conv2d(channels, outputs, kernel, stride, padding), mc.ReLU(), mc.MaxPool2d(2),
        mc.Linear(None, 3),
    ]  # fmt: skip
    kept = [layer for layer in layers if relu or not isinstance(layer, mc.ReLU)]
    check(mc.Sequential(*kept, seed=3), (channels, *size), batch=5)


@pytest.mark.parametrize(("planes", "outputs", "kernel", "stride", "padding", "dilation", "size"), [
    (3, 16, 3, 2, 0, 1, (23, 27)), (3, 9, 3, 1, 1, 1, (9, 37)), (2, 8, 4, 2, 1, 1, (20, 18)),
    (4, 17, (4, 3), (1, 2), 1, 1, (12, 40)), (3, 8, (7, 4), 2, 3, 1, (21, 33)),
    (3, 16, 3, (2, 3), (2, 0), (2, 1), (17, 29)), (4, 24, (1, 4), 1, 0, 1, (2, 9)),
    (3, 16, (5, 3), 1, 2, (3, 1), (19, 530)),
])  # fmt: skip
def test_gradients_of_a_first_convolution_of_colours_under_a_pool_are_right(
    planes, outputs, kernel, stride, padding, dilation, size
):
    """`winner_rows.c`: planes side by side, several samples in an item, odd numbers of outputs."""
    conv = mc.Conv2d(planes, outputs, kernel, stride, padding, dilation)
    model = mc.Sequential(conv, mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 3), seed=3)
    check(model, (planes, *size), batch=2)
    check(model, (planes, *size), batch=18)


@pytest.mark.parametrize("outputs", (1, 2, 3, 4, 7, 8, 9))
@pytest.mark.parametrize(("kernel", "padding", "dilation"), [
    (5, 2, 1), (3, 1, 1), (1, 0, 1), ((1, 3), 0, (2, 1)), ((3, 1), 1, (1, 2)), (3, 0, 2),
])  # fmt: skip
@pytest.mark.parametrize(("channels", "width"), [(1, 6), (1, 33), (3, 10), (3, 29)])
def test_first_convolution_of_few_outputs_under_a_pool_is_right(
    channels, width, kernel, padding, dilation, outputs
):
    """`channel_paired.c`: two pixels share a vector, in tiles of up to 14 windows."""
    conv = mc.Conv2d(channels, outputs, kernel, 1, padding, dilation)
    model = mc.Sequential(conv, mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 3), seed=9)
    shape = (channels, 7, width)
    check(model, shape, batch=2)
    x, _ = batch_of(model, shape)
    expected = model.forward_by_layers(x)
    assert_close(model.logits(x), expected, NET_TOLERANCE, np.abs(expected).max())
