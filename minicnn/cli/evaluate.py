"""`minicnn evaluate`: how good a model is, class by class."""

import argparse
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, Failure, blaming
from .judging import calibration_object, calibration_text
from .photos import Decoding, check_photo_options, left_out, list_left_out, note_passed_over
from .reading import add_calibrate
from .values import whole

if TYPE_CHECKING:
    from pathlib import Path

    from ..data.dataset import Dataset, Photos, Splits
    from ..sequential import Sequential

PARTS = ("train", "val", "test", "all")


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "evaluate", help="judge a model on labelled data", allow_abbrev=False,
        description="Accuracy, loss, precision, recall and F1 of every class, and what was taken "
        "for what.",
    )  # fmt: skip
    add = parser.add_argument
    add("model", metavar="RUN", help="run folder or model file")
    add("data", nargs="?", metavar="DATA", help="as for train; default: the run's own data")
    add("--split", choices=PARTS,
        help="part of the data; default: test where there is one, the validation part of the "
        "run's own data otherwise, and of other data all")  # fmt: skip
    add("--on-error", choices=("raise", "skip"),
        help="photos: stop at broken files, or leave them out and list them")  # fmt: skip
    add_calibrate(parser)
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print."""
    from ..data.pictures import in_channel_order
    from ..losses import CrossEntropyLoss
    from ..metrics import confusion_matrix
    from .reading import load_model

    console = Console(arguments.json)
    model, classes, path = load_model(arguments.model, arguments.calibrate)
    name, part, dataset, photos = _choose_data(arguments, path, model, console)
    with blaming(ExitCode.DATA):
        labels = _in_order_of(classes, dataset, name)
        if model.input_shape is not None and dataset.images.shape[1:] != model.input_shape:
            raise ValueError(
                f"{name}: its images are {dataset.images.shape[1:]} (channels, height, width); "
                f"the model expects {model.input_shape}"
            )
    logits = model.logits(in_channel_order(dataset.images, model.preprocessing))
    predictions = logits.argmax(axis=1)
    loss = CrossEntropyLoss()(logits, labels)
    matrix = confusion_matrix(labels, predictions, len(classes))
    correct = int((labels == predictions).sum())
    if console.as_json:
        scores = _as_object(str(path), name, part, correct, len(labels), loss, classes, matrix)
        calibration = {"calibration": calibration_object(logits, labels, model.temperature)}
        console.result_object({**scores, **calibration, **left_out(photos)})
    else:
        _print(console, name, part, correct, len(labels), loss, classes, matrix)
        console.result("\n" + calibration_text(logits, labels, model.temperature))
    list_left_out(photos, console)
    return ExitCode.DONE


def _choose_data(
    arguments: argparse.Namespace, path: "Path", model: "Sequential", console: Console
) -> tuple[str, str, "Dataset", "Photos | None"]:
    """Name of the data, name of the part, the part, and how photos were read."""
    from ..runs import RunFolder
    from . import settings as defaults
    from .job import divide, open_data

    folder = RunFolder(path.parent)
    own = folder.read(folder.arguments) if folder.arguments.is_file() else None
    spec = defaults.data_path(arguments.data)
    if arguments.data is None:
        if own is None:
            raise Failure(
                ExitCode.USAGE, f"error: {path} is not in a run folder, so DATA has to be given"
            )
        spec = own.get("data")
    same = own is not None and own.get("data") == spec
    on_error = arguments.on_error or (own or {}).get("on_error" if same else "") or "raise"
    with Decoding(console) as decoding:
        photos = {**_conversion(model), "on_error": on_error, "progress": decoding}
        splits = open_data(spec if arguments.data is None else arguments.data, photos=photos)
    check_photo_options({"on_error": arguments.on_error}, splits)
    if splits.photos is not None:
        note_passed_over(splits.photos, console)
    if own is not None and same and arguments.split != "all":
        splits = divide(splits, own)
    part = arguments.split or _default_part(splits)
    return splits.name, part, _part(splits, part), splits.photos


def _conversion(model: "Sequential") -> dict[str, Any]:
    """How photos become this model's input; what it does not say is as in training."""
    from ..data.pictures import check_preprocessing

    try:
        said = check_preprocessing(model.preprocessing)
    except ValueError:  # photos in its own size are refused later, when the shapes disagree
        return {}
    return {
        "image_size": tuple(said["size"]),
        "channels": said["channels"],
        "background": said["background"],
        "resize": said.get("resize", "area"),
    }


def _default_part(splits: "Splits") -> str:
    if splits.test is not None:
        return "test"
    return "val" if splits.validation is not None else "all"


def _part(splits: "Splits", part: str) -> "Dataset":
    """The samples of one part of data that are divided, where they are the run's, as it did."""
    import numpy as np

    from ..data.dataset import Dataset
    from ..data.picture_cache import join_rows

    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    if part == "all":
        present = [p for p in parts.values() if p is not None]
        return Dataset(
            join_rows([p.images for p in present]),
            np.concatenate([p.labels for p in present]),
            splits.train.classes,
        )
    found = parts[part]
    if part == "test" and found is None:
        raise Failure(ExitCode.DATA, f"error: {splits.name}: has no test part; use --split all")
    if splits.validation is None or found is None:
        raise Failure(
            ExitCode.DATA,
            f"error: {splits.name}: is not what the run was trained on, so it has no {part} part; "
            "use --split all",
        )
    return found


def _in_order_of(classes: list[str], dataset: "Dataset", name: str) -> Any:
    """The labels as indices into the model's classes, matched by name."""
    import numpy as np

    present = np.unique(dataset.labels)
    unknown = [dataset.classes[k] for k in present if dataset.classes[k] not in classes]
    if unknown:
        raise ValueError(
            f"{name}: has the classes {', '.join(unknown[:5])}, which the model does not know; "
            f"it knows {', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}"
        )
    position = {label: k for k, label in enumerate(classes)}
    table = np.array([position.get(label, -1) for label in dataset.classes], np.int64)
    return table[dataset.labels]


def _print(
    console: Console, name: str, part: str, correct: int, count: int, loss: float,
    classes: list[str], matrix: Any,
) -> None:  # fmt: skip
    from ..metrics import per_class
    from .text import confusion_text, percent, plural, scores_table

    console.result(f"data      {name}, {part}: {plural(count, 'image')}")
    console.result(f"accuracy  {percent(correct / count)}  ({correct:,} of {count:,})")
    console.result(f"loss      {loss:.4f}\n")
    console.result(scores_table(classes, per_class(matrix)) + "\n")
    console.result(confusion_text(matrix, classes))


def _as_object(
    model: str, name: str, part: str, correct: int, count: int, loss: float,
    classes: list[str], matrix: Any,
) -> dict[str, Any]:  # fmt: skip
    from ..metrics import per_class

    scores = per_class(matrix)
    return {
        "model": model,
        "data": name,
        "split": part,
        "images": count,
        "accuracy": correct / count,
        "loss": loss,
        "classes": [
            {
                "name": label,
                "images": int(scores.support[k]),
                "precision": float(scores.precision[k]),
                "recall": float(scores.recall[k]),
                "f1": float(scores.f1[k]),
            }
            for k, label in enumerate(classes)
        ],
        "confusion_matrix": matrix.tolist(),
    }
