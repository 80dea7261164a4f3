"""`minicnn report`: a run's report.html, made anew."""

import argparse
from typing import TYPE_CHECKING, Any

from . import settings as defaults
from .console import Console
from .failures import ExitCode, Failure, blaming
from .photos import Decoding, list_left_out, note_passed_over
from .values import whole

if TYPE_CHECKING:
    from ..data.dataset import Splits
    from ..sequential import Sequential
    from .job import Job

NEEDED = ("data", "arch", "epochs", "val_split", "seed")  # of args.json


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "report", help="write a run's report.html anew", allow_abbrev=False,
        description="Judge a run's model again and write its report.html: one file to look at, "
        "with curves, confusion matrix, mistakes with their pictures, and calibration.",
    )  # fmt: skip
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="run folder")
    add("data", nargs="?", metavar="DATA", help="where the run's data are now, if they were moved")
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the run and its data, and write the report."""
    from ..runs import RunError, RunFolder
    from .judging import judge
    from .reading import load_model
    from .reporting import write_report
    from .text import bytes_text

    console = Console(arguments.json)
    folder = RunFolder(arguments.run_folder)
    with blaming(ExitCode.MODEL):
        settings = folder.read(folder.arguments)
        if missing := [name for name in NEEDED if name not in settings]:
            raise RunError(
                f"{folder.arguments}: lacks {', '.join(missing)}; restore it from a copy"
            )
    model, classes, _ = load_model(arguments.run_folder)
    if arguments.data is not None:
        settings["data"] = defaults.data_path(arguments.data)
    job = _job(settings, _open(settings, console), model, classes)
    judged = [judge(model, "validation", job.validation)]
    ended = None
    if folder.complete:
        with blaming(ExitCode.MODEL):
            summary = folder.read(folder.summary)
        _compare(summary, judged[0].accuracy, console)
        ended = summary.get("stopped")
        if job.test is not None:  # those of a run that may go on stay unseen
            judged.insert(0, judge(model, "test", job.test))
    try:
        write_report(job, folder, model, judged, folder.complete, ended)
    except RunError as error:
        raise Failure(ExitCode.MODEL, f"error: {error}") from error
    size = folder.report.stat().st_size
    console.result(f"  report  {folder.report}  {bytes_text(size)}")
    console.result_object({"report": str(folder.report), "bytes": size})
    list_left_out(job.photos, console)
    return ExitCode.DONE


def _open(settings: dict[str, Any], console: Console) -> "Splits":
    from .job import open_data

    given = {name: settings.get(name) for name in ("image_size", "on_error")}
    with Decoding(console) as decoding:
        photos = defaults.photo_options({**given, "arch": settings["arch"]})
        splits = open_data(settings["data"], photos={**photos, "progress": decoding})
    if splits.photos is not None:
        note_passed_over(splits.photos, console)
    return splits


def _job(
    settings: dict[str, Any], splits: "Splits", model: "Sequential", classes: list[str]
) -> "Job":
    """The run's job, with the trained model; a failure where the data cannot be the run's."""
    from .job import make_job

    if list(splits.train.classes) != classes or splits.train.images.shape[1:] != model.input_shape:
        raise Failure(
            ExitCode.DATA,
            f"error: {splits.name}: its images are {splits.train.images.shape[1:]} of "
            f"{len(splits.train.classes)} classes ({', '.join(splits.train.classes[:5])}, …); the "
            f"run's were {model.input_shape} of {len(classes)} ({', '.join(classes[:5])}, …); give "
            "the data that it was trained on",
        )
    return make_job(settings, splits, model)


def _compare(summary: dict[str, Any], accuracy: float, console: Console) -> None:
    """Note data that are no longer those of the training."""
    from .text import percent

    then = summary.get("val_accuracy")
    if isinstance(then, float) and abs(then - accuracy) > 1e-9:
        console.warn(
            f"note: the validation accuracy was {percent(then)} after the training and is "
            f"{percent(accuracy)} now: the data have changed since, so the report shows other "
            "images than the model was chosen by"
        )
