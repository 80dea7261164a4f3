"""`minicnn train`: from data to a run folder."""

import argparse
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import settings as defaults
from .console import Console
from .failures import ExitCode, Failure, blaming, os_error_text
from .photos import (
    Decoding,
    check_classes,
    check_photo_options,
    left_out,
    list_left_out,
    note_passed_over,
)
from .signals import Terminated
from .values import image_size, learning_rate, real, whole

if TYPE_CHECKING:
    from ..data.dataset import Splits
    from ..runs import RunFolder
    from ..training import Callback
    from .job import Job
    from .progress import Progress


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "train", help="train a classifier", allow_abbrev=False,
        description="Train a classifier and leave it, with all figures, in a run folder.",
    )  # fmt: skip
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA",
        help="photos (a folder for each class), IDX folder, .npz, mnist, fashion-mnist or cifar10; "
        "default: digits")  # fmt: skip
    add("--arch", metavar="NAME", type=architecture,
        help=f"{', '.join(defaults.ARCHITECTURES)}, or a .json file")  # fmt: skip
    add("--epochs", metavar="N", type=whole(1), help="passes over the training data")
    add("--batch-size", metavar="N", type=whole(1), help="images per step (64)")
    add("--optimizer", choices=defaults.OPTIMIZERS, help="default: adamw")
    add("--lr", metavar="X", type=learning_rate, help="(largest) learning rate; auto: find one")
    add("--schedule", choices=defaults.SCHEDULES, help="default: onecycle")
    add("--warmup", metavar="N", type=whole(0), help="epochs in which the rate rises")
    add("--weight-decay", metavar="X", type=real(), help="0.01 for adamw, 0.0005 for sgd")
    add("--label-smoothing", metavar="X", type=real(0, 1, below=True), help="0 to 1 (0)")
    add("--class-weight", choices=("none", "balanced"), help="balanced: rare classes weigh more")
    add("--clip-norm", metavar="X", type=real(above=True), help="largest norm of the gradient")
    add("--ema", metavar="DECAY", type=real(0, 1, below=True),
        help="judge and keep a moving average of the weights, such as 0.999")  # fmt: skip
    add("--val-split", metavar="X", type=real(0, 1, above=True, below=True),
        help="share of the training data that is kept for validation")  # fmt: skip
    add("--test-split", metavar="X", type=real(0, 1, below=True),
        help="share kept for a test at the end; photos: 0.1 from 1,000 on, else 0")  # fmt: skip
    add("--augment", choices=defaults.AUGMENTS,
        help="random changes to the training images; photos: strong, else none")  # fmt: skip
    add("--image-size", metavar="HxW", type=image_size,
        help="photos: size they are stretched to (96x96; 224x224 for seed)")  # fmt: skip
    add("--on-error", choices=("raise", "skip"),
        help="photos: stop at broken files, or leave them out and list them")  # fmt: skip
    add("--allow-tiny", action="store_true",
        help="photos: train also where a class has only one or two")  # fmt: skip
    add("--patience", metavar="N", type=whole(1),
        help="stop after N epochs without a lower validation loss")  # fmt: skip
    add("--time-budget", metavar="MINUTES", type=real(above=True),
        help="end in time: begin no epoch that would not fit")  # fmt: skip
    add("--seed", metavar="N", type=whole(0, 2**64 - 1), help="decides all that is random (0)")
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    add("--out", metavar="DIR", help="run folder to make (default: runs/train-001, -002, …)")
    add("--resume", metavar="DIR", nargs="?", const="",
        help="continue the run in DIR, or the newest one, to the same result")  # fmt: skip
    add("--json", action="store_true", help="the result as one JSON object on stdout")
    add("--quiet", action="store_true", help="only results, warnings and errors")
    add("--dry-run", action="store_true", help="show data, model and cost, and train nothing")
    parser.set_defaults(run=run)


def architecture(text: str) -> str:
    """The kind of value that --arch takes: a known name or a .json file."""
    if text not in defaults.ARCHITECTURES and not text.endswith(".json"):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected {', '.join(defaults.ARCHITECTURES)}, or a path to a .json"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Train, or with --dry-run show what would be trained."""
    began = time.perf_counter()
    console = Console(arguments.json, arguments.quiet)
    if arguments.resume is not None:
        return _resume(arguments, console, began)
    from .folder import check_free, new_folder
    from .job import new_job
    from .prepare import prepare

    splits = _open(arguments.data, vars(arguments), console)
    typed = {name: getattr(arguments, name) for name in ("image_size", "on_error")}
    typed["allow_tiny"] = arguments.allow_tiny or None
    check_photo_options(typed, splits)
    settings = defaults.choose(arguments, splits)
    settings["data"] = defaults.data_path(settings["data"])
    job = new_job(settings, splits)
    if splits.photos is not None:
        check_classes(splits, arguments.allow_tiny, console)
    if arguments.dry_run:
        code = _show_plan(job, console)
    else:
        check_free(arguments.out)
        _show_header(job, console)
        budget = prepare(job, console, began)
        code = _train(job, new_folder(job, arguments), console, budget, resume=False)
    list_left_out(job.photos, console)
    return code


def _open(data: str | None, options: Mapping[str, Any], console: Console) -> "Splits":
    """The data, with words about what takes long and what was passed over."""
    from .job import open_data

    with Decoding(console) as decoding:
        photos = {**defaults.photo_options(options), "progress": decoding}
        splits = open_data(data, _download_note(console), photos)
    if splits.photos is not None:
        note_passed_over(splits.photos, console)
    return splits


def _resume(arguments: argparse.Namespace, console: Console, began: float) -> int:
    from .. import runs
    from .job import old_job
    from .prepare import prepare

    if arguments.dry_run:
        raise Failure(ExitCode.USAGE, "error: --dry-run shows a new run; leave out --resume")
    with blaming(ExitCode.MODEL):
        folder = runs.RunFolder(arguments.resume) if arguments.resume else runs.newest()
        settings = defaults.of_run(folder, arguments)
        if folder.complete:
            console.say(f"  {folder} is complete; there is nothing left to train")
            _show_summary(folder.read(folder.summary), folder, console)
            return ExitCode.DONE
    job = old_job(settings, _open(settings["data"], settings, console), folder)
    _show_header(job, console)
    budget = prepare(job, console, began, folder)
    code = _train(job, folder, console, budget, resume=True)
    list_left_out(job.photos, console)
    return code


def _train(
    job: "Job",
    folder: "RunFolder",
    console: Console,
    budget: "Sequence[Callback]",
    resume: bool,
) -> int:
    from .finish import finish, timings
    from .job import MONITOR
    from .progress import Progress

    progress = Progress(console, MONITOR)
    try:
        history = _fit(job, folder, progress, budget, resume)
        summary = finish(job, folder, history, progress.stop_reason, console)
    except (KeyboardInterrupt, Terminated) as stop:
        raise _stopped(stop, job, folder, progress) from None
    except BrokenPipeError:
        raise  # about who reads along, not about the disk
    except OSError as error:
        raise Failure(ExitCode.DISK, f"error: {os_error_text(error)}", _way_on(folder)) from error
    spent = timings(history)
    if job.settings["augment"] != "none":
        console.say(f"  time    {spent['seconds']:.1f} s, of which the training waited "
                    f"{spent['wait_seconds']:.1f} s for its data")  # fmt: skip
    _show_summary({**summary, **spent, **left_out(job.photos)}, folder, console)
    return ExitCode.DONE


def _fit(
    job: "Job",
    folder: "RunFolder",
    progress: "Progress",
    budget: "Sequence[Callback]",
    resume: bool,
) -> Any:
    from ..checkpoint import CheckpointError
    from ..layers import ShapeError
    from ..training.callbacks import DivergedError

    try:
        return job.fit(folder, [*budget, progress], resume)
    except DivergedError as error:
        kept = (
            f"{folder.model} keeps the weights of epoch {progress.best_epoch}"
            if progress.best_epoch
            else "no epoch was good, so no weights were kept"
        )
        lower = job.settings["lr"] / 10
        advice = f"{kept}; try --lr {lower:g}, or --clip-norm 1"
        raise Failure(ExitCode.DIVERGED, f"error: {error}", advice) from error
    except (CheckpointError, ShapeError) as error:
        raise Failure(ExitCode.MODEL, f"error: {error}") from error


def _stopped(stop: BaseException, job: "Job", folder: "RunFolder", progress: "Progress") -> Failure:
    from ..runs import RunError
    from .finish import report_stopped
    from .text import plural

    code, reason = ExitCode.INTERRUPTED, "Ctrl-C"
    if isinstance(stop, Terminated):
        code, reason = ExitCode.TERMINATED, "SIGTERM"
    # A second Ctrl-C, or a full disk, leaves the report out and nothing else.
    with contextlib.suppress(KeyboardInterrupt, Terminated, OSError, RunError):
        report_stopped(job, folder)
    if not folder.last.exists():
        return Failure(code, f"stopped by {reason} before the training began")
    epochs = plural(progress.epoch, "epoch")
    return Failure(
        code, f"stopped by {reason} after {epochs}; what was finished is saved", _way_on(folder)
    )


def _way_on(folder: "RunFolder") -> str:
    if not folder.last.exists():
        return "nothing was trained yet; start again"
    return f"continue with: minicnn train --resume {folder.folder}"


def _show_header(job: "Job", console: Console) -> None:
    from ..engine import engine_enabled, isa
    from ..threads import get_num_threads
    from .text import image_text, plural

    parts = [("train", job.train), ("val", job.validation), ("test", job.test)]
    counts = " / ".join(f"{name} {len(p.labels):,}" for name, p in parts if p is not None)
    total = sum(len(p.labels) for _, p in parts if p is not None)
    shape = job.train.images.shape[1:]
    classes = plural(len(job.train.classes), "class", "classes")
    images = plural(total, "image")
    console.say(f"  data    {job.name}  {images}  {image_text(shape)}  {classes}  ({counts})")
    parameters = sum(p.size for p in job.model.parameters())
    threads = plural(get_num_threads(), "thread") + (f", {isa()}" if engine_enabled() else "")
    console.say(f"  model   {job.settings['arch']}  {plural(parameters, 'parameter')}  {threads}")


def _show_plan(job: "Job", console: Console) -> int:
    """--dry-run: data, model and cost are the result, so they go to stdout."""
    from .cost import cost_of
    from .pace import measure
    from .prepare import settle_lr

    if not console.as_json:
        _show_header(job, console)
    settle_lr(job, console)
    cost = cost_of(job, measure(job))
    console.result(str(job.model.summary()))
    console.result("\n".join(f"{name:<16}{value}" for name, value in cost.lines()))
    console.result_object(
        {"settings": job.settings, "cost": cost.as_dict(), **left_out(job.photos)}
    )
    return ExitCode.DONE


def _show_summary(summary: dict[str, Any], folder: "RunFolder", console: Console) -> None:
    from .text import percent

    figures = [f"val_acc {percent(summary['val_accuracy'])}"]
    if summary["test_accuracy"] is not None:
        figures.append(f"test_acc {percent(summary['test_accuracy'])}")
    console.result(f"  result  {'  '.join(figures)}  (epoch {summary['best_epoch']})")
    shown = f"   report  {folder.report}" if folder.report.exists() else ""
    console.result(f"  saved   {folder}{shown}")
    console.say(f"  next    minicnn evaluate {folder.folder}     "
                f"minicnn predict {folder.folder} image.png")  # fmt: skip
    written = {"report": str(folder.report)} if shown else {}
    console.result_object({"run": str(folder.folder), **written, **summary})


def _download_note(console: Console) -> Any:
    """Says once for each file that a download has begun."""
    seen: set[str] = set()

    def note(name: str, done: int, total: int) -> None:
        if name not in seen:
            seen.add(name)
            console.say(f"  loading {name}  {total:,} bytes")

    return note
