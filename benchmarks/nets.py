"""The networks that the benchmarks measure, once for each library, with the same shapes.

Each entry of NETS is a list of plain layer descriptions; `minicnn_model` and `torch_model` turn
one into a model, `comparison/jax_side.py` and `comparison/onnx_side.py` do the same for JAX and
onnxruntime. So a network is written down once and all libraries run the same one.
"""

from typing import Any, NamedTuple

Description = tuple[Any, ...]


class Row(NamedTuple):
    """One line of the comparison: a network at a batch size."""

    net: str
    batch: int


def conv_bn_relu(inputs: int, outputs: int) -> list[Description]:
    return [("conv", inputs, outputs, 3, 1, 1), ("batchnorm", outputs), ("relu",)]


LENET = [
    ("conv", 1, 6, 5, 1, 2), ("relu",), ("maxpool", 2),
    ("conv", 6, 16, 5, 1, 0), ("relu",), ("maxpool", 2),
    ("flatten",), ("linear", 400, 120), ("relu",), ("linear", 120, 84), ("relu",),
    ("linear", 84, 10),
]  # fmt: skip

MNIST_EXAMPLE = [
    ("conv", 1, 32, 3, 1, 0), ("relu",), ("conv", 32, 64, 3, 1, 0), ("relu",), ("maxpool", 2),
    ("dropout", 0.25), ("flatten",), ("linear", 9216, 128), ("relu",), ("dropout", 0.5),
    ("linear", 128, 10),
]  # fmt: skip

CIFAR = [
    *conv_bn_relu(3, 32), *conv_bn_relu(32, 32), ("maxpool", 2),
    *conv_bn_relu(32, 64), *conv_bn_relu(64, 64), ("maxpool", 2),
    *conv_bn_relu(64, 128), *conv_bn_relu(128, 128), ("maxpool", 2),
    ("flatten",), ("linear", 2048, 10),
]  # fmt: skip

SEED = [
    ("conv", 3, 16, 3, 2, 0), ("relu",), ("maxpool", 2),
    ("conv", 16, 32, 3, 2, 0), ("relu",), ("conv", 32, 64, 3, 2, 0), ("relu",),
    ("conv", 64, 128, 3, 2, 0), ("relu",), ("flatten",), ("linear", 4608, 3),
]  # fmt: skip


def deep(layers: int) -> list[Description]:
    """That many 3×3 convolutions of the same size, to see what depth costs."""
    convolutions = [("conv", 32, 32, 3, 1, 1), ("relu",)] * layers
    return [*convolutions, ("flatten",), ("linear", 32 * 16 * 16, 10)]


NETS: dict[str, tuple[tuple[int, int, int], list[Description]]] = {
    "digits": ((1, 8, 8), [("flatten",), ("linear", 64, 10)]),
    "mlp": ((1, 28, 28), [("flatten",), ("linear", 784, 128), ("relu",), ("linear", 128, 10)]),
    "lenet": ((1, 28, 28), LENET),
    "mnist-example": ((1, 28, 28), MNIST_EXAMPLE),
    "cifar": ((3, 32, 32), CIFAR),
    "seed": ((3, 224, 224), SEED),
    **{f"deep-{layers}": ((32, 16, 16), deep(layers)) for layers in (4, 8, 16)},
}

ROWS = [
    Row("digits", 32), Row("mlp", 64), Row("lenet", 1), Row("lenet", 8), Row("lenet", 64),
    Row("mnist-example", 64), Row("cifar", 64), Row("seed", 4), Row("seed", 32),
]  # fmt: skip


def conv_sizes(size: tuple[int, int], kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Height and width behind a convolution or a pool."""
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    return height, width


def class_count(net: str) -> int:
    """Outputs of the network's last layer."""
    return int(NETS[net][1][-1][2])


def minicnn_model(net: str) -> Any:
    import minicnn as mc

    make: dict[str, Any] = {
        "conv": lambda i, o, k, s, p: mc.Conv2d(i, o, k, stride=s, padding=p),
        "linear": mc.Linear, "batchnorm": mc.BatchNorm2d, "relu": mc.ReLU,
        "maxpool": mc.MaxPool2d, "dropout": mc.Dropout, "flatten": mc.Flatten,
    }  # fmt: skip
    return mc.Sequential(*(make[kind](*arguments) for kind, *arguments in NETS[net][1]))


def torch_model(net: str) -> Any:
    from torch import nn

    make: dict[str, Any] = {
        "conv": lambda i, o, k, s, p: nn.Conv2d(i, o, k, stride=s, padding=p),
        "linear": nn.Linear, "batchnorm": nn.BatchNorm2d, "relu": nn.ReLU,
        "maxpool": nn.MaxPool2d, "dropout": nn.Dropout, "flatten": nn.Flatten,
    }  # fmt: skip
    return nn.Sequential(*(make[kind](*arguments) for kind, *arguments in NETS[net][1]))
