"""`minicnn export`: a model's weights in the format of another program."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, Failure, blaming
from .reading import SEED_SUFFIX

if TYPE_CHECKING:
    from ..interop.seed import SeedModel

SUFFIXES = {"safetensors": ".safetensors", "npz": ".npz", "seed": SEED_SUFFIX}


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "export", help="write a model's weights for another program", allow_abbrev=False,
        description="Write the weights of a model as plain safetensors or npz, with PyTorch's "
        "names and layout, or in the format of the seed project.",
    )  # fmt: skip
    add = parser.add_argument
    add("model", metavar="RUN", help="run folder or model file")
    add("--to", metavar="FORMAT", required=True, choices=SUFFIXES,
        help=" or ".join(SUFFIXES))  # fmt: skip
    add("--out", metavar="FILE", help="the file to make (RUN's name in the current folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and print its name; an existing one is never overwritten."""
    from ..runs import find_model
    from .text import bytes_text

    console = Console()
    with blaming(ExitCode.MODEL):
        path = find_model(arguments.model)
    source = Path(arguments.model)
    name = source.resolve().name if source.is_dir() else source.stem
    out = Path(arguments.out or f"{name}{SUFFIXES[arguments.to]}")
    if out.exists():
        raise Failure(ExitCode.USAGE, f"error: {out}: exists; give a new name with --out")
    if path.suffix == SEED_SUFFIX:
        _export_seed_file(path, arguments.to, out, console)
    else:
        _export_model(path, arguments.to, out, console)
    console.result(f"{out}  {bytes_text(out.stat().st_size)}")
    return ExitCode.DONE


def _export_seed_file(path: Path, form: str, out: Path, console: Console) -> None:
    """From the file's own content, so that one without statistics can be converted as well."""
    from ..interop import seed

    with blaming(ExitCode.MODEL):
        content = seed.read_seed_model(path)
    if form == "seed":
        seed.write_seed_model(out, content)
        return
    if content.has_batchnorm and not content.has_statistics:
        console.warn(
            f"note: {path}: holds no running mean and variance, so neither does the export; "
            "it cannot classify before they are taken from training images"
        )
    notes = {"preprocessing": seed.PREPROCESSING, **_named(content)}
    _write_plain(form, out, content.tensors, notes)


def _named(content: "SeedModel") -> dict[str, list[str]]:
    from ..interop.seed import CLASSES

    return {"classes": list(CLASSES)} if content.classes == len(CLASSES) else {}


def _export_model(path: Path, form: str, out: Path, console: Console) -> None:
    from ..interop.seed import CLASSES, write_seed_model
    from ..interop.seed_export import to_seed_model
    from .reading import load_model

    model, classes, _ = load_model(str(path))
    if form != "seed":
        notes: dict[str, Any] = {"classes": classes, "preprocessing": model.preprocessing}
        if model.temperature != 1:
            notes["temperature"] = model.temperature
        _write_plain(form, out, model.state_dict(), notes)
        return
    try:
        content = to_seed_model(model)
    except ValueError as error:
        raise Failure(ExitCode.MODEL, f"error: {path}: {error}") from None
    write_seed_model(out, content)
    if model.temperature != 1:
        console.warn(
            f"note: the format holds no temperature; without that of {model.temperature:.3f} the "
            "probabilities are those of predict --no-temperature"
        )
    if sorted(classes) != sorted(CLASSES):
        numbered = ", ".join(f"{k} {name}" for k, name in enumerate(classes[:10]))
        console.warn(f"note: the format holds no names; the outputs are {numbered}")


def _write_plain(form: str, out: Path, tensors: Any, notes: dict[str, Any]) -> None:
    from ..interop import write_npz, write_safetensors

    if form == "npz":
        write_npz(out, tensors)
    else:
        write_safetensors(out, tensors, notes)
