"""Reading back the file that `Sequential.save` wrote."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import checkpoint
from .architecture import Maker
from .arguments import whole_number
from .calibration import check_temperature
from .layers import Layer
from .sequential import Sequential


def load(path: str | os.PathLike[str], *, custom_layers: Iterable[type[Layer]] = ()) -> Sequential:
    """The model that `Sequential.save` wrote: architecture and weights, in evaluation mode.

    Nothing in the file is executed: layers are looked up by name, and built only after their
    shapes were found to fit the arrays in the file.

    Parameters
    ----------
    custom_layers : iterable of Layer subclasses
        Classes of your own that the model uses.

    Raises
    ------
    CheckpointError
        When the file is damaged, foreign, from a newer version, or does not fit together.
    OSError
        When it cannot be read.
    """
    tensors, metadata = checkpoint.read(path)
    try:
        model = from_metadata(metadata, custom_layers)
        check_shapes_before_allocating(model, tensors)
        model.load_state_dict(tensors)
    except (TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{os.fspath(path)}: {error}") from None
    return model.eval()


def check_shapes_before_allocating(model: Sequential, tensors: Mapping[str, Any]) -> None:
    """Refuse an architecture whose weights are not in the file: they could be of any size."""
    shapes = model.parameter_shapes()
    if shapes is None:
        raise ValueError("the architecture leaves a layer's input size open")
    nothing = np.float32(0)
    expected = {name: np.broadcast_to(nothing, shape) for name, shape in shapes.items()}
    found = {name: tensor for name, tensor in tensors.items() if name in expected}
    checkpoint.check_entries(found, expected, "the file")


def from_metadata(metadata: Any, custom_layers: Iterable[type[Layer]] = ()) -> Sequential:
    """An untrained model of the architecture that `Sequential.metadata` described."""
    if not isinstance(metadata, dict) or "architecture" not in metadata:
        raise ValueError(
            "the file holds no architecture, only arrays; build the model in Python and use "
            "load_state_dict"
        )
    layers = Maker(Sequential, custom_layers).layers(metadata["architecture"])
    model = Sequential(*layers, seed=whole_number(metadata.get("seed", 0), "seed", 0, 2**64 - 1))
    if metadata.get("input_shape") is not None:
        model.input_shape = tuple(
            whole_number(size, "input_shape") for size in metadata["input_shape"]
        )
        model.infer(model.input_shape)
    model.classes = metadata.get("classes")
    model.preprocessing = metadata.get("preprocessing") or {}
    model.temperature = check_temperature(metadata.get("temperature", 1.0))
    return model
