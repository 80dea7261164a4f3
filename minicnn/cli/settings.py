"""What `minicnn train` is told, what it chooses by itself, and what a resumed run keeps."""

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..runs import RunFolder
from .failures import ExitCode, Failure

if TYPE_CHECKING:
    from ..data.dataset import Splits

ARCHITECTURES = ("auto", "mlp", "lenet", "cnn-s", "cnn-m", "seed")
OPTIMIZERS = ("adamw", "adam", "sgd")
AUGMENTS = ("none", "light", "strong")
SCHEDULES = ("onecycle", "cosine", "plateau", "constant")
MANY = 10_000  # images from which on fewer epochs and a smaller validation share are enough
LEARNING_RATES = {"adamw": 5e-3, "adam": 5e-3, "sgd": 0.1}
WEIGHT_DECAYS = {"adamw": 1e-2, "adam": 0.0, "sgd": 5e-4}
FORMAT = 1  # of args.json

# The settings that decide the result: they are written to args.json, and a resumed run
# has the same ones.
NAMES = (
    "data", "arch", "epochs", "batch_size", "optimizer", "lr", "schedule", "weight_decay",
    "label_smoothing", "class_weight", "clip_norm", "val_split", "seed", "patience",
    "image_size", "on_error", "ema", "warmup", "time_budget", "augment", "test_split",
)  # fmt: skip
AUTO_LR = ("lr", "auto")  # args.json has the rate that was found
ENOUGH = 1000  # photos from which on a tenth is a validation part, and another a test part
IMAGE_SIZE = "96x96"  # of photos
IMAGE_SIZES = {"seed": "224x224"}  # architectures that are made for another one
FEW_EPOCHS = 20  # of MANY photos

# What suits photos; measured in docs/augmentation.md.
PHOTO_RECIPE: dict[str, Any] = {
    "epochs": 80, "batch_size": 32, "augment": "strong", "label_smoothing": 0.1,
}  # fmt: skip
PHOTO_DECAY = 0.05  # of the weights, with adamw


def photo_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """How photos are read, from settings or from options that may be None: for `open_source`."""
    size = given["image_size"] or IMAGE_SIZES.get(given["arch"], IMAGE_SIZE)
    height, width = map(int, size.split("x"))
    return {"image_size": (height, width), "on_error": given["on_error"] or "raise"}


def choose(arguments: argparse.Namespace, splits: "Splits") -> dict[str, Any]:
    """All settings of a new run: what was given, and for the rest what suits the data.

    'auto' is left to the caller, who knows the shape of the images.
    """
    images = len(splits.train.labels)
    given = {name: getattr(arguments, name) for name in NAMES}
    many = images >= MANY
    chosen: dict[str, Any] = {
        "arch": "auto",
        "epochs": 5 if many else 10,
        "batch_size": 64,
        "optimizer": "adamw",
        "schedule": "onecycle",
        "label_smoothing": 0.0,
        "class_weight": "none",
        "val_split": 0.1 if many else 0.2,
        "test_split": 0.0,
        "augment": "none",
        "seed": 0,
        "warmup": 0,
    }
    if splits.photos is not None:
        chosen |= photo_settings(splits)
    settings = chosen | {name: value for name, value in given.items() if value is not None}
    check_shares(settings)
    optimizer = settings["optimizer"]
    settings.setdefault("lr", LEARNING_RATES[optimizer])
    photos = splits.photos is not None and optimizer == "adamw"
    settings.setdefault("weight_decay", PHOTO_DECAY if photos else WEIGHT_DECAYS[optimizer])
    if settings["warmup"] >= settings["epochs"]:
        raise Failure(
            ExitCode.USAGE,
            f"error: --warmup {settings['warmup']} leaves nothing of {settings['epochs']} epochs; "
            "give fewer, or more --epochs",
        )
    return {"format": FORMAT} | {name: settings.get(name) for name in NAMES}


def photo_settings(splits: "Splits") -> dict[str, Any]:
    """What is chosen for photos beyond, or instead of, what is for other images."""
    assert splits.photos is not None
    height, width = splits.photos.size
    images = len(splits.train.labels)
    chosen = {"image_size": f"{height}x{width}", "on_error": "raise", **PHOTO_RECIPE}
    if images >= MANY:
        chosen["epochs"] = FEW_EPOCHS
    if images >= ENOUGH and splits.validation is None and splits.test is None:
        chosen |= {"val_split": 0.1, "test_split": 0.1}
    return chosen


def check_shares(settings: Mapping[str, Any]) -> None:
    """Refuse shares that leave nothing to train on."""
    if settings["val_split"] + settings["test_split"] >= 1:
        raise Failure(
            ExitCode.USAGE,
            f"error: --val-split {settings['val_split']:g} and --test-split "
            f"{settings['test_split']:g} leave nothing to train on; give shares that add up to "
            "less than 1",
        )


def data_path(given: str | None) -> str | None:
    """What args.json keeps of DATA: a path that holds from any folder, or a name as it is."""
    return os.path.abspath(given) if given is not None and os.path.exists(given) else given


def of_run(run: RunFolder, arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of an earlier run, which what was typed must not contradict.

    Raises
    ------
    Failure
        USAGE, listing the options that contradict; MODEL for an args.json of another version.
    """
    settings = run.read(run.arguments)
    if settings.get("format") != FORMAT or not settings.keys() >= set(NAMES):
        raise Failure(
            ExitCode.MODEL,
            f"error: {run.arguments}: format {settings.get('format')!r} or entries are missing; "
            f"this version reads format {FORMAT}, with all of {', '.join(NAMES)}",
        )
    typed = {name: getattr(arguments, name) for name in NAMES}
    typed["data"] = data_path(typed["data"])
    conflicts = [
        f"{_option(name)} {value} (the run has {settings[name]})"
        for name, value in typed.items()
        if value is not None and value != settings[name] and (name, value) != AUTO_LR
    ]
    if arguments.out is not None:
        conflicts.append(f"--out {arguments.out} (a run stays in its folder)")
    if conflicts:
        raise Failure(
            ExitCode.USAGE,
            f"error: a resumed run keeps its settings, but got {', '.join(conflicts)}",
            f"leave them out: minicnn train --resume {run.folder}; or start a new run",
        )
    return settings


def _option(name: str) -> str:
    return "DATA" if name == "data" else "--" + name.replace("_", "-")
