"""`minicnn predict`: the class of pictures."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, blaming
from .reading import add_calibrate
from .values import real, whole

if TYPE_CHECKING:
    from ..sequential import Sequential

UNSURE = "unsure"  # instead of a class that is less likely than --threshold

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
    add("images", metavar="IMAGE", nargs="+",
        help="picture in any format that Pillow reads, or a folder with pictures")  # fmt: skip
    add("--top", metavar="K", type=whole(1), default=1, help="show the K most likely classes (1)")
    add("--threshold", metavar="P", type=real(0, 1),
        help=f"answer {UNSURE!r} when no class has at least this probability, 0 to 1")  # fmt: skip
    add("--no-temperature", action="store_true",
        help="probabilities as the network gives them, without its temperature")  # fmt: skip
    add("--invert", action="store_true", help="swap dark and light first")
    add_calibrate(parser)
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--csv", action="store_true", help="comma-separated lines on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print. A broken picture is named; the others are still answered."""
    from ..data.pictures import check_preprocessing
    from .pictures import PictureStream
    from .reading import load_model

    console = Console(arguments.json)
    model, classes, path = load_model(arguments.model, arguments.calibrate)
    with blaming(ExitCode.MODEL):
        preprocessing = check_preprocessing(model.preprocessing)
    if arguments.no_temperature:
        model.temperature = 1.0
    stream = PictureStream(arguments.images, preprocessing, arguments.invert, console)
    answers = console.open_object({"model": str(path)}, "predictions")
    top, sure_from = min(arguments.top, len(classes)), arguments.threshold
    if arguments.csv:
        _print_csv(_csv_head(top, sure_from))
    for paths, batch in stream.batches():
        width = max(map(len, paths))
        for name, ranking in zip(paths, _rank(model, batch, classes, top), strict=True):
            if arguments.csv:
                _print_csv(_csv_cells(name, ranking, sure_from))
            elif arguments.json:
                answers.add({"path": name, **_as_object(ranking, sure_from)})
            else:
                console.result(_line(name, width, ranking, sure_from))
        sys.stdout.flush()  # whoever reads along has these answers now
    answers.close({"errors": stream.broken})
    return ExitCode.DATA if stream.broken else ExitCode.DONE


def _rank(model: "Sequential", batch: Any, classes: list[str], top: int) -> Iterator[Ranking]:
    import numpy as np

    for row in model.predict_proba(batch):
        order = np.argsort(-row, kind="stable")[:top]
        yield [(classes[k], float(row[k])) for k in order]


def _answer(ranking: Ranking, sure_from: float | None) -> str:
    label, probability = ranking[0]
    return UNSURE if sure_from is not None and probability < sure_from else label


def _line(name: str, width: int, ranking: Ranking, sure_from: float | None) -> str:
    from .text import percent

    cells = [f"{label} {percent(probability)}" for label, probability in ranking]
    if _answer(ranking, sure_from) != ranking[0][0]:
        cells.insert(0, f"{UNSURE}:")
    return f"{name:<{width}}  " + "  ".join(cells)


def _as_object(ranking: Ranking, sure_from: float | None) -> dict[str, Any]:
    top = [{"class": label, "probability": probability} for label, probability in ranking]
    answer = {"class": _answer(ranking, sure_from), "probability": ranking[0][1], "top": top}
    return answer if sure_from is None else {**answer, "sure": ranking[0][1] >= sure_from}


def _csv_head(top: int, sure_from: float | None) -> list[str]:
    ranks = [f"{what}_{k + 1}" for k in range(top) for what in ("class", "probability")]
    return ["path", *([] if sure_from is None else ["answer"]), *ranks]


def _csv_cells(name: str, ranking: Ranking, sure_from: float | None) -> list[Any]:
    answer = [] if sure_from is None else [_answer(ranking, sure_from)]
    return [name, *answer, *(value for pair in ranking for value in pair)]


def _print_csv(cells: list[Any]) -> None:
    import csv

    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)
