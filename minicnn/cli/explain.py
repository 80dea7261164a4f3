"""`minicnn explain`: where in a picture the model sees a class, and whether to believe it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Console
from .failures import ExitCode, Failure, blaming
from .reading import add_calibrate
from .values import whole

if TYPE_CHECKING:
    from ..sequential import Sequential


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "explain", help="show where in pictures the model sees a class", allow_abbrev=False,
        description="Grad-CAM: for each picture a PNG with the picture and, beside it, the places "
        "that speak for the class. Two figures tell whether to believe it: how much faster the "
        "probability falls when these places are deleted first than in a random order, and how "
        "much the map resembles that of the same net with random weights.",
    )  # fmt: skip
    add = parser.add_argument
    add("model", metavar="RUN", help="run folder or model file")
    add("images", metavar="IMAGE", nargs="+",
        help="picture in any format that Pillow reads, or a folder with pictures")  # fmt: skip
    add("--layer", metavar="N",
        help="position of a layer with a (C, H, W) output, as info shows it (the last "
        "convolution, with the activation after it)")  # fmt: skip
    add("--class", dest="target", metavar="NAME", help="explain this class (the most likely one)")
    add("--out", metavar="DIR", default="explain", help="folder of the PNG files (explain)")
    add("--invert", action="store_true", help="swap dark and light first")
    add_calibrate(parser)
    add("--threads", metavar="N", type=whole(1, 1024), help="never changes the result")
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain each picture. A broken one is named; the others are still explained."""
    from ..data.pictures import check_preprocessing
    from .pictures import PictureStream
    from .reading import load_model

    console = Console(arguments.json)
    model, classes, path = load_model(arguments.model, arguments.calibrate)
    with blaming(ExitCode.MODEL):
        preprocessing = check_preprocessing(model.preprocessing)
    layer = _layer(model, arguments.layer, path)
    target = _target(classes, arguments.target)
    stream = PictureStream(arguments.images, preprocessing, arguments.invert, console)
    names = OutNames(Path(arguments.out))
    explained = console.open_object({"model": str(path)}, "explanations")
    for paths, batch in stream.batches():
        width = max(map(len, paths))
        for name, picture in zip(paths, batch, strict=True):
            found = _explain(model, classes, picture, target, layer, names.take(name))
            explained.add({"path": name, **found})
            console.result(_line(name, width, found))
            if not found["found_anything"]:
                console.warn(
                    f"note: {name}: no place of layer {layer} speaks for {found['class']}, so the "
                    "map is empty and its figures mean nothing; another --layer may show more"
                )
    explained.close({"errors": stream.broken})
    return ExitCode.DATA if stream.broken else ExitCode.DONE


def _layer(model: "Sequential", wanted: str | None, path: Path) -> str:
    """The layer to look at; a failure that lists those that could be."""
    from ..explain import default_layer, feature_layers

    if wanted is None:
        with blaming(ExitCode.MODEL):
            return default_layer(model)
    possible = feature_layers(model)
    if wanted not in possible:
        raise Failure(
            ExitCode.USAGE,
            f"error: --layer {wanted}: {path} has no such layer with an output of channels, height "
            f"and width; expected one of {', '.join(possible) or '(none)'}",
        )
    return wanted


def _target(classes: list[str], wanted: str | None) -> int | None:
    if wanted is None:
        return None
    if wanted not in classes:
        shown = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
        raise Failure(ExitCode.USAGE, f"error: --class {wanted}: the model knows {shown}")
    return classes.index(wanted)


class OutNames:
    """A PNG in `folder` for each picture, numbered where two pictures have the same name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.taken: set[str] = set()

    def take(self, picture: str) -> Path:
        stem, number = Path(picture).stem, 1
        name = stem
        while name in self.taken:
            number += 1
            name = f"{stem}-{number}"
        self.taken.add(name)
        return self.folder / f"{name}.gradcam.png"


def _explain(
    model: "Sequential", classes: list[str], picture: Any, target: int | None, layer: str, out: Path
) -> dict[str, Any]:
    """Write the PNG of one picture; what was found, as plain data."""
    import numpy as np

    from .. import explain
    from ..checkpoint import durable
    from ..data.pictures import in_channel_order

    heat = explain.grad_cam(model, picture, target, layer)
    deleted = explain.deletion(model, picture, heat)
    similarity = explain.random_weights_similarity(model, picture, heat)
    shown = in_channel_order(picture[None].astype(np.uint8), model.preprocessing)[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out, explain.png(explain.overlay(shown, heat.values)))
    return {
        "class": classes[heat.target],
        "probability": heat.probability,
        "layer": heat.layer,
        "found_anything": bool(heat.raw.any()),
        "deletion": deleted.area,
        "deletion_random": deleted.random_area,
        "deletion_filler": deleted.filler,
        "random_weights_similarity": similarity,
        "out": str(out),
    }


def _line(name: str, width: int, found: dict[str, Any]) -> str:
    from .text import percent

    # Adding 0 turns -0 into 0.
    similarity = round(found["random_weights_similarity"], 2) + 0.0
    doubt = ", no better" if found["deletion"] >= found["deletion_random"] else ""
    return (
        f"{name:<{width}}  {found['class']} {percent(found['probability'])}  "
        f"deletion {found['deletion']:.2f} (random order {found['deletion_random']:.2f}{doubt})  "
        f"like random weights {similarity:.2f}  {found['out']}"
    )
