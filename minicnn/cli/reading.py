"""What the commands that take RUN share: reading a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import ExitCode, Failure, blaming

SEED_SUFFIX = ".model"
CALIBRATION = 128  # pictures that statistics are taken from
LEAST = 8  # of them; fewer say too little about the spread

if TYPE_CHECKING:
    from ..sequential import Sequential


def add_calibrate(parser: Any) -> None:
    """Declare the option of the commands that use a model."""
    parser.add_argument(
        "--calibrate", metavar="FOLDER",
        help="training photos, for a .model file that lacks statistics: they are taken from "
        f"{CALIBRATION} of these",
    )  # fmt: skip


def load_model(where: str, calibrate: str | None = None) -> tuple["Sequential", list[str], Path]:
    """The model that RUN means, its class names, and the file it is from.

    A file whose name ends in .model is one of the seed project's; `calibrate` is a folder with
    pictures that the statistics are taken from which some of these lack.
    """
    from ..interop import load_seed_model
    from ..model_file import load
    from ..runs import find_model

    with blaming(ExitCode.MODEL):
        path = find_model(where)
    images = None if calibrate is None else _calibration(path, calibrate)
    with blaming(ExitCode.MODEL):
        model = load_seed_model(path, images) if path.suffix == SEED_SUFFIX else load(path)
    return model, _class_names(model, path), path


def describe_model(where: str) -> tuple["Sequential", list[str], Path, bool]:
    """As `load_model`, and whether it lacks statistics, without which it is no use."""
    from ..interop.seed import as_sequential, read_seed_model
    from ..runs import find_model

    with blaming(ExitCode.MODEL):
        path = find_model(where)
        if path.suffix == SEED_SUFFIX:
            content = read_seed_model(path)
            model = as_sequential(content)
            lacking = content.has_batchnorm and not content.has_statistics
            return model, _class_names(model, path), path, lacking
    return *load_model(where), False


def _calibration(path: Path, folder: str) -> Any:
    """Pictures from all over a folder, as inputs of a model that lacks statistics."""
    import numpy as np

    from ..data.decoding import decode_in_order
    from ..data.errors import DataError
    from ..data.folders import Listing, walk_pictures
    from ..interop.seed import PREPROCESSING, read_seed_model

    with blaming(ExitCode.MODEL):
        content = read_seed_model(path) if path.suffix == SEED_SUFFIX else None
    if content is None or content.has_statistics or not content.has_batchnorm:
        raise Failure(
            ExitCode.USAGE, f"error: --calibrate: {path} lacks no statistics; leave it out"
        )
    files = list(walk_pictures(folder, Listing(folder)))
    chosen = [files[k * len(files) // CALIBRATION] for k in range(CALIBRATION)] if files else []
    pictures = [
        picture
        for _, picture in decode_in_order(dict.fromkeys(chosen), PREPROCESSING)
        if not isinstance(picture, DataError)
    ]
    if len(pictures) < LEAST:
        raise Failure(
            ExitCode.DATA,
            f"error: --calibrate {folder}: has {len(pictures)} pictures that can be read; expected "
            f"{LEAST} at least, better {CALIBRATION}, of all classes",
        )
    return np.stack(pictures)


def _class_names(model: "Sequential", path: Path) -> list[str]:
    """The names of a model's outputs; they are from a file, which may hold anything."""
    outputs = model.output_shape(model.input_shape) if model.input_shape else ()
    if len(outputs) != 1:
        raise Failure(
            ExitCode.MODEL, f"error: {path}: its output is {outputs}; expected one score a class"
        )
    names = [str(k) for k in range(outputs[0])] if model.classes is None else model.classes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Failure(ExitCode.MODEL, f"error: {path}: its class names are not a list of strings")
    if len(names) != outputs[0]:
        raise Failure(
            ExitCode.MODEL,
            f"error: {path}: names {len(names)} classes but has {outputs[0]} outputs",
        )
    return names
