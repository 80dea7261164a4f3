"""A model in the seed project's format, such that the seed's program gives its answers."""

import os
from typing import Any

import numpy as np

from ..architecture import describe
from ..sequential import Sequential
from .seed import CLASSES, IMAGE_SHAPE, SeedModel, seed_layers, write_seed_model


def save_seed_model(path: str | os.PathLike[str], model: Sequential) -> None:
    """Write a model as a `.model` file of the seed project; see `to_seed_model`.

    Raises
    ------
    ValueError
        The format cannot hold this model; the message says what differs.
    OSError
        The file could not be written; an older one is still there.
    """
    write_seed_model(path, to_seed_model(model))


def to_seed_model(model: Sequential) -> SeedModel:
    """The content of a `.model` file that classifies as `model` does.

    The seed's program hands its net pictures with blue first, and calls the three outputs dog,
    panda and bird. The first convolution of a model that expects red first gets its input
    channels reversed, and outputs with those three names are put in that order; the numbers
    stay the same. A model that `load_seed_model` gave is left as it is. With batch
    normalisation the running statistics are stored.

    Raises
    ------
    ValueError
        Another architecture, image size or scaling; the message says what differs.
    """
    _check_architecture(model)
    state = model.state_dict()
    tensors = {k: v for k, v in state.items() if not k.endswith(".num_batches_tracked")}
    if model.preprocessing and model.preprocessing.get("order", "RGB") != "BGR":
        tensors["0.weight"] = np.ascontiguousarray(tensors["0.weight"][:, ::-1])
    last = len(model.layers) - 1
    names = model.classes or []
    if sorted(names) == sorted(CLASSES):
        order = [names.index(name) for name in CLASSES]
        for key in (f"{last}.weight", f"{last}.bias"):
            tensors[key] = tensors[key][order]
    has_batchnorm = len(tensors) > 10
    return SeedModel(tensors, has_batchnorm, has_batchnorm, len(tensors[f"{last}.bias"]))


def _check_architecture(model: Sequential) -> None:
    """ValueError unless `model` is the seed's net and sees pictures scaled as the seed's."""
    if model.input_shape not in (None, IMAGE_SHAPE):
        raise _refusal(f"takes images of {model.input_shape}, expected {IMAGE_SHAPE}")
    found = [describe(layer) for layer in model.layers]
    has_batchnorm = any(entry["type"] == "BatchNorm2d" for entry in found)
    classes = found[-1].get("out_features") if found else None
    expected = [describe(layer) for layer in seed_layers(has_batchnorm, classes or len(CLASSES))]
    for i, (got, wanted) in enumerate(zip(found, expected, strict=False)):
        if got != wanted:
            raise _refusal(f"has as layer {i} {_shown(got)}, expected {_shown(wanted)}")
    if len(found) != len(expected):
        raise _refusal(f"has {len(found)} layers, expected {len(expected)}")
    if model.preprocessing and model.preprocessing.get("divisor") != 255:
        raise _refusal("was not trained on pictures divided by 255")


def _refusal(problem: str) -> ValueError:
    return ValueError(
        f"the model {problem}; the seed's format holds its own net for 224×224 photos only "
        "(--arch seed); export others as safetensors or npz"
    )


def _shown(entry: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in entry.items() if key != "type")
    return f"{entry['type']}({arguments})"
