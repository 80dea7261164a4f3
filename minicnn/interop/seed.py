"""The seed project's `.model` files.

A file is float32 values, little-endian, without header: four blocks of convolution and, in two of
the three variants, batch normalisation, then the linear layer. Its length is all that tells the
variant and the number of classes K:

    no normalisation               4·( 97,440 + 4,609·K) bytes
    weight and bias only           4·( 97,920 + 4,609·K) bytes
    with running mean and var      4·( 98,400 + 4,609·K) bytes

The three never coincide, because they differ by less than one class. The linear weight is stored
[in][out], with in = c·36 + h·6 + w; everywhere else, here too, it is (out, in).
"""

import copy
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import CheckpointError, check_entries, durable
from ..layers import BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d, ReLU
from ..sequential import Sequential

Array = NDArray[np.float32]

CHANNELS = (3, 16, 32, 64, 128)
IMAGE_SHAPE = (3, 224, 224)
CLASSES = ("dog", "panda", "bird")  # the order of the outputs, when there are three
PREPROCESSING: dict[str, Any] = {
    "channels": 3,
    "size": list(IMAGE_SHAPE[1:]),
    "divisor": 255,
    "background": None,
    "order": "BGR",
    "resize": "bilinear",
}
_MOST_CLASSES = 10_000  # bounds what a foreign file of a fitting size can cost
_FEATURES = 128 * 6 * 6
_FLOATS_PER_CLASS = _FEATURES + 1
# What no trained weight reaches. Integers and text read as float32 are far below or far above.
_SMALLEST_PEAK, _LARGEST = 1e-6, 1e4


@dataclass(frozen=True)
class SeedModel:
    """The content of a `.model` file.

    Attributes
    ----------
    tensors : dict of str to float32 ndarray
        In PyTorch's layout, under the state-dict names of the layers that `seed_layers` gives.
    has_batchnorm : bool
        Whether every convolution is followed by batch normalisation.
    has_statistics : bool
        Whether the running statistics of the normalisation were stored; older files lack them.
    classes : int
        Number of outputs.
    """

    tensors: dict[str, Array]
    has_batchnorm: bool
    has_statistics: bool
    classes: int


def seed_layers(has_batchnorm: bool, classes: int) -> list[Layer]:
    """The seed's net for 224×224 colour images, untrained."""
    layers: list[Layer] = []
    for block, (fan_in, fan_out) in enumerate(zip(CHANNELS, CHANNELS[1:], strict=False)):
        layers.append(Conv2d(fan_in, fan_out, 3, stride=2))
        if has_batchnorm:
            layers.append(BatchNorm2d(fan_out))
        layers.append(ReLU())
        if block == 0:
            layers.append(MaxPool2d(2))
    return [*layers, Linear(_FEATURES, classes)]


def read_seed_model(path: str | os.PathLike[str], classes: int | None = None) -> SeedModel:
    """Read a `.model` file.

    Parameters
    ----------
    classes
        The number of classes, if it is known. Without it, a file that was cut off by exactly
        the size of one class could pass for a model with fewer.

    Raises
    ------
    CheckpointError
        The size is none that a model has, or the values cannot be trained weights.
    OSError
        The file could not be read.
    """
    name = os.fspath(path)
    if not os.path.isfile(name) and os.path.exists(name):
        raise CheckpointError(f"{name}: not a file; give the path of a .model file")
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        has_batchnorm, has_statistics, found = _variant(name, size, classes)
        values = np.frombuffer(file.read(size), "<f4")
    if 4 * values.size != size:
        raise CheckpointError(f"{name}: became shorter while it was read; copy it again")
    tensors, position = {}, 0
    for key, shape in _stored(has_batchnorm, has_statistics, found):
        stored = values[position : position + int(np.prod(shape))].reshape(shape)
        position += stored.size
        _check_values(f"{name}: {key}", key, stored)
        tensors[key] = np.array(stored.T if len(shape) == 2 else stored, np.float32, order="C")
    return SeedModel(tensors, has_batchnorm, has_statistics, found)


def write_seed_model(path: str | os.PathLike[str], model: SeedModel) -> None:
    """Write a `.model` file; one that was read and not changed is reproduced byte for byte.

    Raises
    ------
    CheckpointError
        Tensors are missing, unexpected or mis-shaped for the variant; all are listed.
    OSError
        The file could not be written; an older one is still there.
    """
    stored = _stored(model.has_batchnorm, model.has_statistics, model.classes)
    expected = {key: np.empty(shape[::-1] if len(shape) == 2 else shape, np.float32)
                for key, shape in stored}  # fmt: skip
    check_entries(model.tensors, expected, f"{os.fspath(path)}: the model to write")
    arrays = [model.tensors[key] for key, _ in stored]
    parts = [(a.T if a.ndim == 2 else a).astype("<f4").tobytes() for a in arrays]
    durable.write_bytes(path, b"".join(parts))


def load_seed_model(path: str | os.PathLike[str], calibrate: Any = None) -> Sequential:
    """The model in a `.model` file, in evaluation mode, with its preprocessing on record.

    Files with batch normalisation but without its running statistics cannot classify: the
    statistics are part of the function. They load when `calibrate` gives images to take the
    statistics from.

    Parameters
    ----------
    calibrate : (N, 3, 224, 224) float32 or uint8, optional
        Training images, prepared as for prediction; 8 or more of mixed classes.
        Only for files without statistics.

    Raises
    ------
    CheckpointError
        The file is not a usable model, or lacks statistics while `calibrate` is None.
    ValueError
        `calibrate` was given for a file that needs none.
    """
    content = read_seed_model(path)
    lacks_statistics = content.has_batchnorm and not content.has_statistics
    if lacks_statistics and calibrate is None:
        raise CheckpointError(
            f"{os.fspath(path)}: holds batch normalisation without running mean and variance, "
            "so it cannot classify by itself; load_seed_model(path, calibrate=images), or "
            "--calibrate FOLDER on the command line, takes them from training images"
        )
    if not lacks_statistics and calibrate is not None:
        raise ValueError("calibrate is only for files without running statistics; leave it out")
    model = as_sequential(content)
    if lacks_statistics:
        _take_statistics(model, calibrate)
    return model.eval()


def as_sequential(content: SeedModel) -> Sequential:
    """The net of a file, in evaluation mode; statistics that it lacks are 0 and 1."""
    model = Sequential(*seed_layers(content.has_batchnorm, content.classes)).build(IMAGE_SHAPE)
    untouched = {k: v for k, v in model.state_dict().items() if k not in content.tensors}
    model.load_state_dict(untouched | content.tensors)
    model.classes = list(CLASSES) if content.classes == len(CLASSES) else None
    model.preprocessing = copy.deepcopy(PREPROCESSING)
    return model.eval()


def _take_statistics(model: Sequential, images: Any) -> None:
    """Set every running mean and variance to those of one batch, passed through in training."""
    normalisations = [layer for layer in model.layers if isinstance(layer, BatchNorm2d)]
    usual = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 1.0  # the batch replaces what was there
    try:
        model.train().forward(images)
    finally:
        for layer, momentum in zip(normalisations, usual, strict=True):
            layer.momentum = momentum


def _variant(name: str, size: int, classes: int | None) -> tuple[bool, bool, int]:
    """(has_batchnorm, has_statistics, K) from the size of a file."""
    for variant in ((False, False), (True, False), (True, True)):
        found, rest = divmod(size - _bytes_of(*variant, 0), 4 * _FLOATS_PER_CLASS)
        if rest == 0 and 1 <= found <= _MOST_CLASSES and classes in (None, found):
            return *variant, found
    shown = classes or len(CLASSES)
    sizes = [f"{_bytes_of(*v, shown):,}" for v in ((False, False), (True, False), (True, True))]
    raise CheckpointError(
        f"{name}: is {size:,} bytes long, expected for {shown} classes {sizes[0]} (no batch "
        f"normalisation), {sizes[1]} (without statistics) or {sizes[2]} (with them)"
        + ("" if classes else f", and {4 * _FLOATS_PER_CLASS:,} for each class more or less")
        + "; it is cut off, or not a model of the seed project"
    )


def _bytes_of(has_batchnorm: bool, has_statistics: bool, classes: int) -> int:
    shapes = _stored(has_batchnorm, has_statistics, classes)
    return 4 * sum(int(np.prod(shape)) for _, shape in shapes)


def _stored(
    has_batchnorm: bool, has_statistics: bool, classes: int
) -> list[tuple[str, tuple[int, ...]]]:
    """State-dict name and stored shape of every tensor, in the order of the file."""
    stored: list[tuple[str, tuple[int, ...]]] = []
    index = 0
    for block, (fan_in, fan_out) in enumerate(zip(CHANNELS, CHANNELS[1:], strict=False)):
        stored += [(f"{index}.weight", (fan_out, fan_in, 3, 3)), (f"{index}.bias", (fan_out,))]
        index += 1
        if has_batchnorm:
            names = ["weight", "bias"] + ["running_mean", "running_var"] * has_statistics
            stored += [(f"{index}.{name}", (fan_out,)) for name in names]
            index += 1
        index += 2 if block == 0 else 1  # ReLU, and the pooling after the first block
    return [*stored, (f"{index}.weight", (_FEATURES, classes)), (f"{index}.bias", (classes,))]


def _check_values(where: str, key: str, values: Array) -> None:
    """Refuse what no training produces; a foreign file of the right size shows here."""
    if not np.isfinite(values).all():
        raise CheckpointError(f"{where} holds NaN or infinite values; the file is no usable model")
    peak = float(np.abs(values).max())
    if peak > _LARGEST or (key.endswith(".weight") and peak < _SMALLEST_PEAK):
        raise CheckpointError(
            f"{where} has values up to {peak:.3g}, expected {_SMALLEST_PEAK:g} to {_LARGEST:g}; "
            "the file is damaged, or of another program"
        )
    if key.endswith(".weight") and not values[-1].any():  # the last filter, scale or row
        raise CheckpointError(f"{where} ends in zeros; the file was not written to its end")
    if key.endswith(".running_var") and values.min() < 0:
        raise CheckpointError(f"{where} is negative ({values.min():.3g}); the file is damaged")
