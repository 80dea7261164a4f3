"""Weights alone, for other programs: safetensors and NumPy archives, names and layout PyTorch's.

Neither holds code. The same content gives the same bytes.
"""

import io
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import durable

Tensors = Mapping[str, NDArray[Any]]


def write_safetensors(
    path: str | os.PathLike[str], tensors: Tensors, notes: Mapping[str, Any] | None = None
) -> None:
    """Write a state dict as `safetensors.torch.load_file` reads it.

    Parameters
    ----------
    tensors : dict of str to array
        As from `Sequential.state_dict`.
    notes : dict, optional
        Plain data, like the class names; stored as JSON texts beside the arrays.

    Raises
    ------
    OSError
        The file could not be written; an older one is still there.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    texts = {name: json.dumps(value) for name, value in (notes or {}).items()}
    # "pt" says that the arrays are laid out as PyTorch's; some of its users insist on the word.
    durable.write_bytes(path, save(arrays, metadata={"format": "pt", **texts}))


def write_npz(path: str | os.PathLike[str], tensors: Tensors) -> None:
    """Write a state dict as an archive that `numpy.load` reads: one array for each name.

    Raises
    ------
    OSError
        The file could not be written; an older one is still there.
    """
    archive = io.BytesIO()
    np.savez(archive, **dict(tensors))  # type: ignore[arg-type]  # one of its keywords is a flag
    durable.write_bytes(path, archive.getvalue())
