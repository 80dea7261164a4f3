"""`minicnn predict`: the class of pictures."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, blaming
from .values import whole

if TYPE_CHECKING:
    from ..sequential import Sequential

BATCH = 64  # pictures that are held at a time, so that any number of files can be given
CONTRARY = 0.5  # difference in brightness of the border from which a picture seems inverted

Ranking = list[tuple[str, float]]  # the most likely classes with their probabilities


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "predict", help="tell the class of pictures", allow_abbrev=False,
        description="The most likely class of each picture. It is converted as the model's "
        "training data were: size, grey or colour, scaling.",
    )  # fmt: skip
    add = parser.add_argument
    add("model", metavar="RUN", help="run folder or model file")
    add("images", metavar="IMAGE", nargs="+", help="picture in any format that Pillow reads")
    add("--top", metavar="K", type=whole(1), default=1, help="show the K most likely classes (1)")
    add("--invert", action="store_true", help="swap dark and light first")
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--csv", action="store_true", help="comma-separated lines on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print. A broken picture is named; the others are still answered."""
    from ..data.pictures import check_preprocessing
    from ..threads import set_num_threads
    from .reading import load_model

    console = Console(arguments.json)
    if arguments.threads is not None:
        set_num_threads(arguments.threads)
    model, classes, path = load_model(arguments.model)
    with blaming(ExitCode.MODEL):
        preprocessing = check_preprocessing(model.preprocessing)
    top = min(arguments.top, len(classes))
    width = max(map(len, arguments.images))
    answers: list[dict[str, Any]] = []
    broken: list[dict[str, str]] = []
    if arguments.csv:
        _print_csv(["path", *(f"{what}_{k + 1}" for k in range(top) for what in COLUMNS)])
    for paths, batch in _read(arguments, preprocessing, broken, console):
        for name, ranking in zip(paths, _rank(model, batch, classes, top), strict=True):
            if arguments.csv:
                _print_csv([name, *(value for pair in ranking for value in pair)])
            elif arguments.json:
                answers.append({"path": name, **_as_object(ranking)})
            else:
                console.result(_line(name, width, ranking))
    console.result_object({"model": str(path), "predictions": answers, "errors": broken})
    return ExitCode.DATA if broken else ExitCode.DONE


COLUMNS = ("class", "probability")


def _read(
    arguments: argparse.Namespace,
    preprocessing: dict[str, Any],
    broken: list[dict[str, str]],
    console: Console,
) -> Iterator[tuple[list[str], Any]]:
    """The pictures in batches, as the model's input; broken ones are told and collected."""
    import numpy as np

    from ..data.errors import DataError
    from ..data.pictures import load_picture

    background = preprocessing["background"]
    for start in range(0, len(arguments.images), BATCH):
        paths, pictures = [], []
        for name in arguments.images[start : start + BATCH]:
            try:
                picture = load_picture(name, preprocessing, arguments.invert)
            except DataError as error:
                console.warn(f"error: {error}")
                broken.append({"path": name, "error": str(error)})
                continue
            if background is not None:
                _note_inversion(name, picture, background, console)
            paths.append(name)
            pictures.append(picture)
        if pictures:
            batch = np.stack(pictures)
            # uint8 is divided by 255 by the model itself.
            yield paths, batch if preprocessing["divisor"] == 255 else batch.astype(np.float32)


def _note_inversion(name: str, picture: Any, background: float, console: Console) -> None:
    """Ink on paper, for a model that knows chalk on slate, is the commonest surprise."""
    from ..data.pictures import border

    here = border(picture) / 255
    if abs(here - background) > CONTRARY:
        found, expected = ("light", "dark") if here > background else ("dark", "light")
        console.warn(
            f"note: {name}: has a {found} background, the training images a {expected} one; "
            "--invert swaps them"
        )


def _rank(model: "Sequential", batch: Any, classes: list[str], top: int) -> Iterator[Ranking]:
    import numpy as np

    for row in model.predict_proba(batch):
        order = np.argsort(-row, kind="stable")[:top]
        yield [(classes[k], float(row[k])) for k in order]


def _line(name: str, width: int, ranking: Ranking) -> str:
    from .text import percent

    cells = [f"{label} {percent(probability)}" for label, probability in ranking]
    return f"{name:<{width}}  " + "  ".join(cells)


def _as_object(ranking: Ranking) -> dict[str, Any]:
    top = [{"class": label, "probability": probability} for label, probability in ranking]
    return {**top[0], "top": top}


def _print_csv(cells: list[Any]) -> None:
    import csv
    import sys

    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)
