"""What `evaluate`, `predict` and `info` share: reading a trained model from RUN."""

from pathlib import Path
from typing import TYPE_CHECKING

from .failures import ExitCode, Failure, blaming

SEED_SUFFIX = ".model"

if TYPE_CHECKING:
    from ..sequential import Sequential


def load_model(where: str) -> tuple["Sequential", list[str], Path]:
    """The model that RUN means, its class names, and the file it is from.

    A file whose name ends in .model is one of the seed project's.
    """
    from ..interop import load_seed_model
    from ..model_file import load
    from ..runs import find_model

    with blaming(ExitCode.MODEL):
        path = find_model(where)
        model = load_seed_model(path) if path.suffix == SEED_SUFFIX else load(path)
    outputs = model.output_shape(model.input_shape) if model.input_shape else ()
    if len(outputs) != 1:
        raise Failure(
            ExitCode.MODEL, f"error: {path}: its output is {outputs}; expected one score a class"
        )
    names = [str(k) for k in range(outputs[0])] if model.classes is None else model.classes
    # The names are from a file, which may hold anything.
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Failure(ExitCode.MODEL, f"error: {path}: its class names are not a list of strings")
    if len(names) != outputs[0]:
        raise Failure(
            ExitCode.MODEL,
            f"error: {path}: names {len(names)} classes but has {outputs[0]} outputs",
        )
    return model, names, path
