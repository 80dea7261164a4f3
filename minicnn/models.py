"""Architectures by name, and from a JSON file.

Each function takes the shape of one image, (C, H, W), and the number of classes, and gives an
untrained model built for that shape. They work for every image size that the pooling leaves a
pixel of; a smaller one is a ShapeError.
"""

import json
import os
from collections.abc import Callable
from itertools import pairwise

from .architecture import Maker
from .arguments import size_text, whole_number
from .layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    ShapeError,
)
from .layers.base import Shape
from .sequential import Sequential

LARGEST_FILE = 1 << 20  # bytes of an architecture file; the largest sensible one is far smaller
SEED_CHANNELS = (16, 32, 64, 128)
PHOTO_CHANNELS = (24, 48, 96, 192, 256)
LARGE = 64  # pixels from which on an image is taken for a photo


def mlp(input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """Two fully connected layers: the smallest net that is more than a linear model."""
    layers = [Flatten(), Linear(None, 128), ReLU(), Linear(128, classes)]
    return Sequential(*layers, seed=seed).build(input_shape)


def lenet(input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """LeNet-5 with ReLU and max-pooling, for small grey images such as MNIST's.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document
    recognition" (1998), section II-B.
    """
    return Sequential(
        Conv2d(None, 6, 5, padding=2), ReLU(), MaxPool2d(2),
        Conv2d(6, 16, 5), ReLU(), MaxPool2d(2),
        Flatten(), Linear(None, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, classes),
        seed=seed,
    ).build(input_shape)  # fmt: skip


def cnn_s(input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """Two pairs of 3×3 convolutions with 16 and 32 channels, for images of 8 to 32 pixels."""
    layers = [*_pair(None, 16), MaxPool2d(2), *_pair(16, 32), *_head(32, classes)]
    return Sequential(*layers, seed=seed).build(input_shape)


def cnn_m(input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """3×3 convolutions with batch normalisation for colour images.

    Up to 63 pixels three pairs with 32, 64 and 128 channels. Larger images have detail to spare
    and need to be seen in larger parts: five single ones with 24 to 256 channels, the first of
    which halves the image.
    """
    layers: list[Layer]
    if min(input_shape[1:]) >= LARGE:
        layers = _block(None, PHOTO_CHANNELS[0], stride=2)
        for before, channels in pairwise(PHOTO_CHANNELS):
            layers += [*_block(before, channels), MaxPool2d(2)]
        pool, flatten, linear = _head(PHOTO_CHANNELS[-1], classes)
        layers = [*layers[:-1], pool, flatten, Dropout(0.2), linear]
    else:
        layers = [
            *_pair(None, 32), MaxPool2d(2),
            *_pair(32, 64), MaxPool2d(2),
            *_pair(64, 128), Dropout(0.2), *_head(128, classes),
        ]  # fmt: skip
    return Sequential(*layers, seed=seed).build(input_shape)


def seed_net(input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """The net of the seed project with batch normalisation, made for 224×224 photos."""
    layers: list[Layer] = []
    for i, channels in enumerate(SEED_CHANNELS):
        before = SEED_CHANNELS[i - 1] if i else None
        layers += [Conv2d(before, channels, 3, stride=2), BatchNorm2d(channels), ReLU()]
        layers += [MaxPool2d(2)] if i == 0 else []
    return Sequential(*layers, Linear(None, classes), seed=seed).build(input_shape)


ARCHITECTURES: dict[str, Callable[[Shape, int, int], Sequential]] = {
    "mlp": mlp, "lenet": lenet, "cnn-s": cnn_s, "cnn-m": cnn_m, "seed": seed_net,
}  # fmt: skip


def choose(input_shape: Shape) -> str:
    """The architecture that `auto` means for images of this shape."""
    channels, height, width = input_shape
    if min(height, width) < 16:
        return "cnn-s"
    return "lenet" if channels == 1 and max(height, width) <= 32 else "cnn-m"


def make(name: str, input_shape: Shape, classes: int, seed: int = 0) -> Sequential:
    """An untrained model by name or from a JSON file.

    Parameters
    ----------
    name : str
        A key of ARCHITECTURES, 'auto', or a path that ends in '.json'.
    input_shape : tuple (C, H, W)
    classes : int
    seed : int
        Decides the starting weights.

    Raises
    ------
    ValueError
        An unknown name, or a file that does not describe a model with `classes` outputs.
    ShapeError
        The images are too small for the architecture, or do not fit the file's.
    OSError
        The file cannot be read.
    """
    classes = whole_number(classes, "classes")
    if name == "auto":
        name = choose(input_shape)
    if name.endswith(".json"):
        return from_file(name, input_shape, classes, seed)
    if name not in ARCHITECTURES:
        known = ", ".join(["auto", *ARCHITECTURES])
        raise ValueError(f"the architecture is {name!r}; expected {known}, or a path to a .json")
    return ARCHITECTURES[name](input_shape, classes, seed)


def from_file(
    path: str | os.PathLike[str], input_shape: Shape, classes: int, seed: int = 0
) -> Sequential:
    """The untrained model that a JSON file describes: a list of layers by type and arguments.

    `[{"type": "Flatten"}, {"type": "Linear", "in_features": null, "out_features": 10}]` is a
    whole file; null leaves an input size to be inferred. Raises as `make` does.
    """
    where = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{where}: larger than {LARGEST_FILE:,} bytes; expected a list of layers")
    try:
        layers = Maker(Sequential).layers(json.loads(data))
        model = Sequential(*layers, seed=seed).build(input_shape)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {error}") from None
    output = model.output_shape(input_shape)
    if output != (classes,):
        raise ShapeError(
            f"{where}: its output is {size_text(output)}; expected {classes}, one score for each "
            f"class; end with Linear(…, {classes})"
        )
    return model


def _block(in_channels: int | None, channels: int, stride: int = 1) -> list[Layer]:
    """A 3×3 convolution; BatchNorm's shift stands in for its bias."""
    convolution = Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
    return [convolution, BatchNorm2d(channels), ReLU()]


def _pair(in_channels: int | None, channels: int) -> list[Layer]:
    """Two of them that keep the size."""
    return [*_block(in_channels, channels), *_block(channels, channels)]


def _head(channels: int, classes: int) -> list[Layer]:
    """Average each channel, so that any image size fits, then score the classes."""
    return [GlobalAvgPool2d(), Flatten(), Linear(channels, classes)]
