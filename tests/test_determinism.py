"""Whole training runs give the same bits for any number of threads."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import random
from minicnn.kernels import checks
from minicnn.lowering import passes

THREADS = (1, 2, 3, 4, 8)
STEPS = 30  # 10 epochs of 3 batches, of which the last is short
CLASSES = 10

OPTIMIZERS = {
    "sgd": lambda p: mc.SGD(p, lr=0.05),
    "momentum": lambda p: mc.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: mc.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda p: mc.Adam(p, lr=0.003),
    "adamw": lambda p: mc.AdamW(p, lr=0.003),
}


def mlp(hidden, *middle):
    return lambda: [mc.Linear(None, hidden), *(make() for make in middle), mc.Linear(None, CLASSES)]


def cnn(channels, *middle, **options):
    """Convolution, what the caller puts behind it, Linear on the feature map."""
    kernel = options.pop("kernel_size", 3)
    return lambda: [
        mc.Conv2d(None, channels, kernel, **options),
        *(make() for make in middle),
        mc.Linear(None, CLASSES),
    ]


def two_convolutions():
    return [
        mc.Conv2d(1, 6, 5, padding=2), mc.ReLU(), mc.MaxPool2d(2), mc.Conv2d(6, 16, 5), mc.ReLU(),
        mc.Flatten(), mc.Linear(None, 20), mc.ReLU(), mc.Linear(20, CLASSES),
    ]  # fmt: skip


def norm1d():
    return mc.BatchNorm1d(None)


def norm2d():
    return mc.BatchNorm2d(None)


def pool(kind, *arguments, **options):
    return lambda: kind(*arguments, **options)


NETS = [  # layers, shape of a sample, batch size
    (mlp(128, mc.ReLU), (784,), 128),  # a BLAS gives other bits with 1 and with 2 threads here
    (mlp(64, mc.Tanh), (100,), 32),
    (mlp(33, mc.Sigmoid), (65,), 17),
    (mlp(40, norm1d, mc.GELU), (50,), 24),
    (mlp(31, mc.SiLU, mc.Dropout), (77,), 19),
    (mlp(48, mc.LeakyReLU, mc.Identity), (3, 6, 6), 16),
    (mlp(1), (9,), 5),
    (two_convolutions, (1, 12, 12), 8),
    (cnn(4, mc.ReLU), (1, 9, 9), 16),
    (cnn(8, norm2d, mc.ReLU, pool(mc.MaxPool2d, 2)), (3, 10, 10), 12),
    (cnn(5, mc.ReLU, pool(mc.MaxPool2d, 3, 2, 1)), (2, 11, 7), 7),
    (cnn(6, pool(mc.AvgPool2d, 2)), (3, 8, 8), 9),
    (cnn(6, pool(mc.AvgPool2d, 3, 2, 1, ceil_mode=True)), (1, 10, 10), 9),
    (cnn(12, mc.ReLU, mc.GlobalAvgPool2d), (3, 8, 8), 16),
    (cnn(8, mc.ReLU, stride=2), (3, 12, 12), 8),
    (cnn(8, mc.ReLU, padding=1, dilation=2), (2, 9, 9), 8),
    (cnn(8, mc.ReLU, groups=4), (4, 8, 8), 8),
    (cnn(6, norm2d, groups=6, bias=False), (6, 7, 7), 8),
    (cnn(16, mc.ReLU, kernel_size=1), (8, 6, 6), 8),
    (cnn(4, mc.ReLU, kernel_size=(5, 3), padding="same"), (1, 8, 8), 10),
    (cnn(7, mc.Dropout2d, mc.Flatten), (2, 8, 8), 11),
    (cnn(3, mc.ReLU, mc.Dropout, stride=3), (1, 14, 14), 6),
    (cnn(9, norm2d, mc.SiLU, mc.GlobalAvgPool2d), (1, 8, 8), 33),
    (cnn(2, mc.ReLU), (1, 5, 5), 1),
]


def trained(layers, shape, batch_size, optimizer, clip_norm, threads):
    """The state after STEPS steps, as bytes, and the losses of the epochs."""
    mc.set_num_threads(threads)
    count = max(3 * batch_size - batch_size // 2, 3)
    x = random.normal((count, *shape), 0, 1)
    y = random.permutation(count, 0, 2) % CLASSES
    model = mc.Sequential(*layers(), seed=4).build(shape)
    made = OPTIMIZERS[optimizer](model.parameters())
    history = model.fit(x, y, STEPS // 3, batch_size, optimizer=made, clip_norm=clip_norm,
                        validation_data=(x, y))  # fmt: skip
    assert made.steps == STEPS
    state = {name: array.tobytes() for name, array in model.state_dict().items()}
    return state, history.to_json(timings=False)


def compare(layers, shape, batch_size, optimizer="sgd", clip_norm=None):
    """The numbers of threads whose run differs from that of one thread."""
    one, *others = (
        trained(layers, shape, batch_size, optimizer, clip_norm, threads) for threads in THREADS
    )
    assert all(np.isfinite(row["loss"]) for row in one[1])
    return [threads for threads, run in zip(THREADS[1:], others, strict=True) if run != one]


@pytest.fixture(autouse=True)
def all_work_shared(monkeypatch, keep_threads):
    """Let threads share out even the smallest call, which they would not by themselves."""
    monkeypatch.setattr(checks, "SERIAL_WORK", 0)
    monkeypatch.setattr(passes, "SMALL", 0)


@pytest.mark.parametrize("index", range(len(NETS)))
def test_training_with_any_number_of_threads_gives_the_same_bits(index):
    optimizer = list(OPTIMIZERS)[index % len(OPTIMIZERS)]
    assert compare(*NETS[index], optimizer, clip_norm=1.0 if index % 2 else None) == []


def test_there_are_24_nets_and_every_layer_is_in_one():
    made = {type(layer).__name__ for layers, _, _ in NETS for layer in layers()}
    known = {name for name, thing in vars(mc).items()
             if isinstance(thing, type) and issubclass(thing, mc.Layer)}  # fmt: skip
    assert len(NETS) == 24
    assert known - made == {"Layer", "Sequential"}


class SplitByThreads(mc.Layer):
    """What no kernel may do: a sum whose order depends on the number of threads."""

    def forward(self, x):
        self.save_for_backward(x)
        parts = np.array_split(x, mc.get_num_threads(), axis=1)
        total = np.float32(0)
        for part in parts:
            total += part.sum(dtype=np.float32)
        return x + total

    def backward(self, dy):
        return dy


def test_comparison_with_a_sum_split_by_threads_notices_it():
    assert compare(lambda: [SplitByThreads(), mc.Linear(None, CLASSES)], (100,), 16) != []
