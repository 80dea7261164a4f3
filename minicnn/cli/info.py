"""`minicnn info`: what is in a run, a model file or a data set; alone, this installation."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, blaming
from .photos import Decoding, left_out, list_left_out, note_passed_over

if TYPE_CHECKING:
    from ..runs import RunFolder


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "info", help="describe a run, a model, data or this installation", allow_abbrev=False,
        description="Describe a run folder, a model file or data; without an argument, this "
        "installation.",
    )  # fmt: skip
    parser.add_argument("what", nargs="?", metavar="RUN|MODEL|DATA")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Find out what the argument is, and describe it."""
    from ..config import environment
    from ..runs import RunFolder

    console = Console(arguments.json)
    what = arguments.what
    if what is None:
        _show(console, environment())
    elif os.path.isdir(what) and RunFolder(what).arguments.exists():
        _show_run(RunFolder(what), console)
    elif str(what).endswith((".safetensors", ".model")):
        _show_model(what, console)
    else:
        _show_data(what, console)
    return ExitCode.DONE


def _show_run(folder: "RunFolder", console: Console) -> None:
    with blaming(ExitCode.MODEL):
        described: dict[str, Any] = {
            "run": str(folder.folder),
            "complete": folder.complete,
            "settings": folder.read(folder.arguments),
            "summary": folder.read(folder.summary) if folder.complete else None,
            "environment": folder.read(folder.environment),
        }
    if console.as_json:
        console.result_object(described)
        return
    state = "complete" if folder.complete else "not complete"
    if not folder.complete and folder.last.exists():
        state += f"; continue with: minicnn train --resume {folder.folder}"
    console.result(f"{folder}  {state}")
    settings = {**described["settings"], "data": described["settings"]["data"] or "digits"}
    for name, entries in (("settings", settings), ("summary", described["summary"])):
        if entries:
            console.result(f"\n{name}")
            _show(console, {k: v for k, v in entries.items() if k != "format"}, indent="  ")
    if folder.model.exists():
        console.result("")
        _show_model(str(folder.model), console)


def _show_model(where: str, console: Console) -> None:
    from .reading import describe_model

    model, classes, path, lacking = describe_model(where)
    if console.as_json:
        parameters = sum(p.size for p in model.parameters())
        console.result_object(
            {
                "model": str(path),
                "parameters": parameters,
                **model.metadata(),
                "classes": classes,
                "lacks_statistics": lacking,
            }
        )
        return
    console.result(str(path))
    console.result(str(model.summary()))
    console.result(f"classes  {', '.join(classes)}")
    for name, value in sorted(model.preprocessing.items()):
        console.result(f"picture  {name} {value}")
    if lacking:
        console.warn(
            f"note: {path} holds batch normalisation without running mean and variance, so it "
            "cannot classify by itself; predict --calibrate FOLDER takes them from training photos"
        )


def _show_data(what: str, console: Console) -> None:
    import numpy as np

    from .job import open_data
    from .text import image_text, plural, table

    with Decoding(console) as decoding:
        splits = open_data(what, photos={"on_error": "skip", "progress": decoding})
    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    present = {name: part for name, part in parts.items() if part is not None}
    classes = splits.train.classes
    counts = {
        name: np.bincount(part.labels, minlength=len(classes)).tolist()
        for name, part in present.items()
    }
    shape, dtype = splits.train.images.shape[1:], splits.train.images.dtype
    if console.as_json:
        console.result_object(
            {"data": splits.name, "image_shape": list(shape), "dtype": str(dtype),
             "classes": list(classes), "images": counts, **left_out(splits.photos)}
        )  # fmt: skip
        return
    total = sum(map(sum, counts.values()))
    console.result(
        f"{splits.name}  {plural(total, 'image')}  {image_text(shape)}  {dtype}  "
        f"{plural(len(classes), 'class', 'classes')}\n"
    )
    rows = [["class", *present]]
    rows += [[label, *(f"{counts[name][k]:,}" for name in present)]
             for k, label in enumerate(classes)]  # fmt: skip
    rows.append(["total", *(f"{sum(counts[name]):,}" for name in present)])
    console.result(table(rows))
    if splits.photos is not None:
        note_passed_over(splits.photos, console)
        list_left_out(splits.photos, console)


def _show(console: Console, entries: dict[str, Any], indent: str = "") -> None:
    """Plain data as lines, or as the JSON object."""
    if console.as_json:
        console.result_object(entries)
        return
    width = max(map(len, entries))
    for name, value in entries.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {entry}" for key, entry in value.items())
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        console.result(f"{indent}{name:<{width}}  {'-' if value is None else value}")
