"""How much Winograd's method rounds: the tables of docs/numerics.md.

    python benchmarks/winograd_accuracy.py [--mnist FOLDER]

Against PyTorch in float64, beside the engine's direct sums and PyTorch in float32: a layer's output
and weight gradient for several numbers of channels and kinds of data, and the output of whole nets
of several depths. dx is the same computation as the output, on gradients. An error is the root of
the mean square, relative to that of the truth; the largest error is relative to the same. With
--mnist, the same net is also trained both ways from several seeds.
"""

import argparse
import statistics

import numpy as np
import torch

import minicnn as mc
from minicnn.data.dataset import Dataset
from minicnn.data.idx import load_mnist
from minicnn.lowering import choice

Pair = tuple[np.ndarray, np.ndarray]
WAYS = ("Winograd", "direct", "PyTorch")


def images(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Data of one kind."""
    x = np.random.default_rng(seed).standard_normal(shape, np.float32)
    if kind == "ReLU":
        return np.maximum(x, 0)
    if kind == "mean 100":
        return x + np.float32(100)
    if kind.startswith("times"):
        return x * np.float32(kind.split()[1])
    if kind == "one large pixel":
        x[:, :, 3, 3] *= 1000
    return x


def through_minicnn(model: mc.Sequential, x: np.ndarray, dy: np.ndarray, winograd: bool) -> Pair:
    """Output, and gradient of the last convolution's weight."""
    mc.set_winograd(winograd)
    found = model.passes_for(x)
    y = found.forward(x)
    found.backward(dy)
    gradients = [p.grad for n, p in model.named_parameters().items() if n.endswith("weight")]
    return y, gradients[-1].copy()


def through_torch(model: mc.Sequential, x: np.ndarray, dy: np.ndarray, kind: torch.dtype) -> Pair:
    """The same in PyTorch."""
    y, weight = torch.tensor(x, dtype=kind), None
    for layer in model:
        if isinstance(layer, mc.ReLU):
            y = y.relu()
            continue
        weight = torch.tensor(layer.weight.data, dtype=kind, requires_grad=True)
        y = torch.nn.functional.conv2d(y, weight, stride=layer.stride, padding=layer.padding)
    y.backward(torch.tensor(dy, dtype=kind))
    return y.detach().numpy(), weight.grad.numpy()


def errors(model: mc.Sequential, x: np.ndarray, seed: int) -> np.ndarray:
    """[way][output, weight gradient][mean, largest]."""
    model.build(x.shape[1:])
    shape = (len(x), *model.output_shape(x.shape[1:]))
    dy = np.random.default_rng(seed + 1).standard_normal(shape, np.float32)
    truth = through_torch(model, x, dy, torch.float64)
    ways = [through_minicnn(model, x, dy, True), through_minicnn(model, x, dy, False),
            through_torch(model, x, dy, torch.float32)]  # fmt: skip
    return np.array([[error(f, t) for f, t in zip(way, truth, strict=True)] for way in ways])


def error(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    size = np.sqrt(np.mean(truth**2))
    difference = np.abs(found - truth)
    return float(np.sqrt(np.mean(difference**2)) / size), float(difference.max() / size)


def report(name: str, makers, seeds: int = 3) -> None:
    """A line of the table; the median over some seeds."""
    table = np.median([errors(*makers(seed), seed) for seed in range(seeds)], axis=0)
    cells = [f"{mean:.1e} ({largest:.0e})" for i in (0, 1) for mean, largest in table[:, i]]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def one_layer(channels: int, size: int, kind: str, stride: int = 1):
    def make(seed):
        layer = mc.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        return mc.Sequential(layer, seed=seed), images(kind, (4, channels, size, size), seed)

    return make


def deep_net(depth: int):
    def make(seed):
        layers: list[mc.Layer] = []
        for _ in range(depth):
            layers += [mc.Conv2d(32, 32, 3, padding=1, bias=False), mc.ReLU()]
        return mc.Sequential(*layers[:-1], seed=seed), images("normal", (4, 32, 16, 16), seed)

    return make


def pictures(data: Dataset, which: np.ndarray) -> Pair:
    x = data.images[which].reshape(-1, 1, 28, 28)
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x, data.labels[which]


def train(folder: str, seed: int, winograd: bool, samples: int = 20_000) -> tuple[float, float]:
    """Mean loss of the last 50 steps of an epoch, and test accuracy."""
    mc.set_winograd(winograd)
    train_set, test_set = (load_mnist(folder, split) for split in ("train", "test"))
    layers: list[mc.Layer] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 32)):
        layers += [mc.Conv2d(inputs, outputs, 3, padding=1), mc.BatchNorm2d(outputs), mc.ReLU(),
                   mc.MaxPool2d(2)]  # fmt: skip
    net = mc.Sequential(*layers, mc.Linear(None, 10), seed=seed).build((1, 28, 28))
    optimizer = mc.SGD(net.parameters(), 0.05, momentum=0.9)
    losses = []
    order = np.random.default_rng(seed).permutation(len(train_set.labels))[:samples]
    for first in range(0, samples - 63, 64):
        x, labels = pictures(train_set, order[first : first + 64])
        losses.append(net.train_step(x, labels, mc.CrossEntropyLoss(), optimizer))
    x, labels = pictures(test_set, np.arange(len(test_set.labels)))
    return statistics.mean(losses[-50:]), float(np.mean(net.predict(x) == labels))


def compare_training(folder: str, seeds: int = 5) -> None:
    print("| seed | loss: Winograd | loss: direct | accuracy: Winograd | accuracy: direct |")
    print("|---" * 5 + "|")
    for seed in range(seeds):
        (loss, accuracy), (other_loss, other) = (train(folder, seed, w) for w in (True, False))
        print(
            f"| {seed} | {loss:.4f} | {other_loss:.4f} | {accuracy:.2%} | {other:.2%} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", metavar="FOLDER")
    folder = parser.parse_args().mnist
    choice.ACROSS = "channels"
    heads = [f"{what}: {way}" for what in ("output", "dweight") for way in WAYS]
    print("| data | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for channels, size in ((16, 32), (32, 32), (64, 16), (128, 8), (256, 8)):
        report(f"{channels} channels, {size}×{size}", one_layer(channels, size, "normal"))
    for kind in ("ReLU", "mean 100", "times 1e-15", "times 1e15", "one large pixel"):
        report(f"64 channels, {kind}", one_layer(64, 16, kind))
    for channels, size in ((32, 32), (64, 16), (128, 14), (256, 8)):
        report(
            f"{channels} channels, stride 2, {size}×{size}", one_layer(channels, size, "normal", 2)
        )
    for kind in ("ReLU", "mean 100", "times 1e15", "one large pixel"):
        report(f"64 channels, stride 2, {kind}", one_layer(64, 16, kind, 2))
    for depth in (1, 2, 4, 8, 16):
        report(f"{depth} layers with ReLU", deep_net(depth))
    if folder:
        compare_training(folder)


if __name__ == "__main__":
    main()
