"""Random nets as plain data, and the same net in minicnn and in PyTorch.

A net is a list of (name, arguments) pairs; a list in it is a net inside the net. The names are
minicnn's. `make_net` draws one that fits together, `ours` and `theirs` build it.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import minicnn as mc

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.001}),
    ("Adam", {"lr": 1e-3, "eps": 1e-3}),
    ("Adam", {"lr": 1e-3, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.01}),
    ("AdamW", {"lr": 1e-3, "eps": 1e-3}),
    ("AdamW", {"lr": 1e-3, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 1e-5}),  # default eps
    ("AdamW", {"lr": 1e-5}),  # default eps
]


@dataclass
class Net:
    """All that decides one comparison."""

    seed: int
    input_shape: tuple[int, ...]
    layers: list[Any]
    batch: int
    classes: int
    training: bool
    loss: dict[str, Any]
    optimizer: tuple[str, dict[str, Any]]
    clip_norm: float | None

    def names(self):
        """The kinds of layers in it."""
        return {name for name, _ in flat(self.layers)}


def flat(layers):
    """The (name, arguments) pairs of a net and of those inside it."""
    for entry in layers:
        if isinstance(entry, list):
            yield from flat(entry)
        else:
            yield entry


# --- drawing one -----------------------------------------------------------------------------


class Drawer:
    """Draws layers one after the other and follows the shape of a sample."""

    def __init__(self, seed):
        self.g = np.random.default_rng(seed)
        self.training = bool(self.g.random() < 0.75)
        self.batch = int(self.g.choice([1, 3, 5, 9], p=[0.1, 0.2, 0.4, 0.3]))
        self.layers: list[Any] = []
        self.shape = self.first_shape()
        self.input_shape = self.shape

    def first_shape(self):
        kind = self.g.random()
        if kind < 0.15:
            return (int(self.g.integers(3, 30)),)
        if kind < 0.25:
            return (int(self.g.integers(2, 6)), int(self.g.integers(3, 9)))
        channels = int(self.g.choice([1, 2, 3, 4, 6]))
        return (channels, *(int(v) for v in self.g.integers(5, 15, 2)))

    def flip(self, p=0.5):
        return bool(self.g.random() < p)

    def size(self, low, high):
        """A whole number, or a pair of them."""
        a, b = (int(v) for v in self.g.integers(low, high + 1, 2))
        return (a, b) if self.flip() else a

    def add(self, name, **arguments):
        """Appends a layer if it takes the present shape; says whether it did."""
        try:
            shape = getattr(mc, name)(**arguments).output_shape(self.shape)
        except ValueError:  # of hyper-parameters or shapes that do not fit
            return False
        self.layers.append((name, arguments))
        self.shape = shape
        return True

    def conv(self):
        channels = self.shape[0]
        groups = int(self.g.choice([d for d in range(1, channels + 1) if channels % d == 0]))
        same = self.flip(0.25)
        padding = self.g.choice(["same", "valid"]) if same else self.size(0, 3)
        self.add(
            "Conv2d",
            in_channels=channels,
            out_channels=groups * int(self.g.integers(1, 5)),
            kernel_size=self.size(1, 4),
            stride=1 if same else self.size(1, 3),
            padding=str(padding) if same else padding,
            dilation=self.size(1, 2),
            groups=groups,
            bias=self.flip(0.7),
        )

    def pool(self):
        kind = self.choose(*["MaxPool2d"] * 4, *["AvgPool2d"] * 4, "GlobalAvgPool2d")
        if kind == "GlobalAvgPool2d":
            self.add(kind)
            return
        arguments: dict[str, Any] = {
            "kernel_size": self.size(1, 4),
            "stride": self.size(1, 3) if self.flip(0.7) else None,
            "padding": self.size(0, 2),
            "ceil_mode": self.flip(),
        }
        if kind == "AvgPool2d":
            arguments["count_include_pad"] = self.flip()
        self.add(kind, **arguments)

    def activation(self):
        name, arguments = self.choose(
            ("ReLU", {}), ("LeakyReLU", {"negative_slope": 0.01}),
            ("LeakyReLU", {"negative_slope": 0.3}), ("GELU", {"approximate": "none"}),
            ("GELU", {"approximate": "tanh"}), ("SiLU", {}), ("Sigmoid", {}), ("Tanh", {}),
            ("Identity", {}),
        )  # fmt: skip
        self.add(name, **arguments)

    def norm(self):
        # The variance of fewer than eight values can be so small that eps decides everything.
        values = self.batch * int(np.prod(self.shape[1:]))
        if not self.training or values >= 8:
            self.add(
                "BatchNorm2d" if len(self.shape) == 3 else "BatchNorm1d",
                num_features=self.shape[0],
                eps=float(self.g.choice([1e-5, 1e-3])),
                momentum=float(self.g.choice([0.1, 0.4])),
            )

    def dropout(self):
        name = "Dropout2d" if len(self.shape) == 3 and self.flip() else "Dropout"
        self.add(name, p=float(self.g.choice([0.0, 0.2, 0.5])))

    def linear(self, out_features):
        inputs = int(np.prod(self.shape))
        if len(self.shape) > 1 and self.flip():
            self.add("Flatten")
        self.add("Linear", in_features=inputs, out_features=out_features, bias=self.flip(0.8))

    def choose(self, *options):
        return options[self.g.integers(len(options))]

    def body(self):
        for _ in range(int(self.g.integers(1, 4))):
            if len(self.shape) == 3 and self.flip(0.9):
                self.choose(self.conv, self.conv, self.pool)()
            else:
                self.linear(int(self.g.integers(2, 20)))
            for step, p in ((self.norm, 0.4), (self.activation, 0.8), (self.dropout, 0.25)):
                if self.flip(p):
                    step()
            if len(self.shape) == 3 and self.flip(0.5):
                self.pool()

    def nest(self):
        """Puts some neighbouring layers into a net of their own."""
        start, stop = sorted(int(v) for v in self.g.integers(0, len(self.layers), 2))
        if stop > start and self.flip(0.3):
            self.layers[start:stop] = [self.layers[start:stop]]


def make_net(seed, optimizer):
    """The net number `seed`, which is the same everywhere, to train with OPTIMIZERS[optimizer]."""
    d = Drawer(seed)
    d.body()
    classes = int(d.g.integers(2, 8))
    d.linear(classes)
    d.nest()
    loss = {
        "weight": [float(w) for w in d.g.uniform(0.2, 3, classes)] if d.flip(0.3) else None,
        "ignore_index": int(d.choose(-100, -1, classes - 1)),
        "label_smoothing": float(d.choose(0.0, 0.0, 0.1, 0.6)),
    }
    return Net(
        seed, d.input_shape, d.layers, d.batch, classes, d.training, loss,
        OPTIMIZERS[optimizer], d.choose(None, None, 0.1),
    )  # fmt: skip


def make_batch(net, g):
    """x (N, …) float32 and labels (N,), the first of which counts and some of which do not."""
    x = g.normal(0, 1, (net.batch, *net.input_shape)).astype(np.float32)
    y = g.integers(0, net.classes, net.batch)
    y[1:][g.random(net.batch - 1) < 0.2] = net.loss["ignore_index"]
    if y[0] == net.loss["ignore_index"]:
        y[0] = 0
    return x, y


# --- building it -------------------------------------------------------------------------------


INFERRED = {"Conv2d": "in_channels", "Linear": "in_features", "BatchNorm1d": "num_features",
            "BatchNorm2d": "num_features"}  # fmt: skip


def ours(net):
    """The net in minicnn; in every third one the input sizes are left to be inferred."""
    return _our_chain(net.layers, net.seed % 3 == 0, net.seed).build(net.input_shape)


def _our_chain(layers, infer, seed):
    return mc.Sequential(*(_our_layer(entry, infer, seed) for entry in layers), seed=seed)


def _our_layer(entry, infer, seed):
    if isinstance(entry, list):
        return _our_chain(entry, infer, seed)
    name, arguments = entry
    if infer and name in INFERRED:
        arguments = {**arguments, INFERRED[name]: None}
    return getattr(mc, name)(**arguments)


class FlatLinear(nn.Linear):
    """PyTorch's Linear acts on the last axis; ours flattens a feature map."""

    def forward(self, x):
        return super().forward(x.flatten(1))


class Masked(nn.Module):
    """Drops what the layer `ours` is about to drop: its factors are 0 or 1/(1 − p)."""

    def __init__(self, layer):
        super().__init__()
        self.ours = layer

    def forward(self, x):
        if not self.training:
            return x
        ahead = copy.deepcopy(self.ours)  # so that the layer itself makes no step
        factors = ahead.forward(np.ones(x.shape, np.float32))
        return x * torch.from_numpy(factors).to(x.dtype)


def theirs(net, model):
    """The net in PyTorch, float32; `model` is ours, which tells what Dropout drops."""
    return _their_chain(net.layers, iter(model.leaves().values()))


def _their_chain(layers, leaves):
    return nn.Sequential(*(_their_layer(entry, leaves) for entry in layers))


def _their_layer(entry, leaves):
    if isinstance(entry, list):
        return _their_chain(entry, leaves)
    name, arguments = entry
    layer = next(leaves)
    if name == "Linear":
        return FlatLinear(**arguments)
    if name == "GlobalAvgPool2d":
        return nn.AdaptiveAvgPool2d(1)
    if name in ("Dropout", "Dropout2d"):
        return Masked(layer)
    return getattr(nn, name)(**arguments)


def their_loss(net, dtype):
    arguments = dict(net.loss)
    if arguments["weight"] is not None:
        arguments["weight"] = torch.tensor(np.float32(arguments["weight"])).to(dtype)
    return nn.CrossEntropyLoss(**arguments)
