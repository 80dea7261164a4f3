"""From settings to the objects that train: data in parts, model, loss, optimizer, schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import checkpoint, model_file, models, optim, schedulers
from ..checkpoint.durable import is_disk_full
from ..data.dataset import Dataset, Photos, Splits
from ..data.picture_cache import take_rows
from ..data.pictures import preprocessing_of
from ..data.sources import open_source
from ..data.split import stratified_split
from ..inspection.divided import check_divided
from ..inspection.findings import Report
from ..losses import CrossEntropyLoss
from ..runs import RunError, RunFolder
from ..sequential import Sequential
from ..training import History
from ..training.callbacks import EMA, Callback, Checkpoint, CSVLog, EarlyStopping
from .failures import ExitCode, Failure, blaming, os_error_text
from .photos import nested_hint

# Its best epoch is the one that is kept. Not the accuracy: of a few hundred images that is a
# matter of luck, and its best epoch is the luckiest one. The loss weighs how sure each answer is.
MONITOR = "val_loss"
RISE = 0.3  # share of OneCycle in which the rate rises, without --warmup
WARMUP_START = 0.01  # of the full rate, at the first step of a warm-up


@dataclass
class Job:
    """One training: settings, data in three parts, and an untrained model."""

    settings: dict[str, Any]
    name: str  # of the data
    train: Dataset
    validation: Dataset
    test: Dataset | None
    model: Sequential
    photos: Photos | None = None
    names: dict[str, list[str]] = field(default_factory=dict)  # of the images, by part

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train.labels) // int(self.settings["batch_size"]))

    @property
    def paths(self) -> dict[str, list[str]]:
        """The files of the images by part, where the data are photos."""
        return self.names if self.photos is not None else {}

    @cached_property
    def findings(self) -> Report:
        """What is wrong with the data, as far as it shows without opening a file again."""
        parts = {"train": self.train, "val": self.validation, "test": self.test}
        return check_divided(
            self.name,
            {name: part for name, part in parts.items() if part is not None},
            {"val" if name == "validation" else name: found for name, found in self.names.items()},
            self.photos is not None,
            () if self.photos is None else self.photos.problems,
        )

    def fit(self, run: RunFolder, more: Sequence[Callback], resume: bool) -> History:
        """Train, leaving all files of the training itself in the run folder."""
        settings = self.settings
        callbacks = [CSVLog(run.results), Checkpoint(run.model, monitor=MONITOR)]
        if settings["ema"] is not None:
            callbacks.append(EMA(settings["ema"]))
        if settings["patience"] is not None:
            callbacks.append(
                EarlyStopping(MONITOR, settings["patience"], restore_best_weights=False)
            )
        return self.fit_model(
            make_optimizer(settings, self.model),
            [*callbacks, *more],
            validation_data=(self.validation.images, self.validation.labels),
            state_file=run.last,
            resume=resume,
        )

    def fit_model(
        self, optimizer: optim.Optimizer, callbacks: Sequence[Callback], **options: Any
    ) -> History:
        """`model.fit` as the settings say; `options` are the rest of its arguments."""
        settings = self.settings
        return self.model.fit(
            self.train.images,
            self.train.labels,
            settings["epochs"],
            settings["batch_size"],
            optimizer=optimizer,
            loss=make_loss(settings, self.train),
            callbacks=callbacks,
            schedule=make_schedule(settings, optimizer, self.steps_per_epoch),
            clip_norm=settings["clip_norm"],
            seed=settings["seed"],
            augment=settings["augment"],
            **options,
        )


def open_data(spec: str | None, progress: Any = None, photos: Any = None) -> Splits:
    """The data that DATA names; every way in which that fails is an end with code 3.

    Except for a full disk, which downloads and large sets of photos can meet: that is code 6.
    """
    with blaming(ExitCode.DATA):
        try:
            return open_source(spec, progress=progress, photos=photos)
        except OSError as error:
            if is_disk_full(error):
                raise Failure(ExitCode.DISK, f"error: {os_error_text(error)}") from error
            raise


def divide(splits: Splits, settings: Mapping[str, Any]) -> Splits:
    """All parts: those that the data do not come with are split off the training part.

    Settings are val_split, test_split and seed; a share of 0 or None is not split off.
    """
    parts = {"validation": settings["val_split"], "test": settings.get("test_split")}
    missing = {name: share for name, share in parts.items()
               if share and getattr(splits, name) is None}  # fmt: skip
    if not missing:
        return splits
    shares = (1 - sum(missing.values()), *missing.values())
    with blaming(ExitCode.DATA):
        train, *others = stratified_split(splits.train.labels, shares, settings["seed"])
    found = {name: take(splits.train, k) for name, k in zip(missing, others, strict=True)}
    return splits._replace(
        train=take(splits.train, train),
        validation=found.get("validation", splits.validation),
        test=found.get("test", splits.test),
    )


def names_of(splits: Splits, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the images of each part are called: their files, or their places in the data."""
    # What is divided as the images are, but tells where in the data each one stood.
    positions = splits.train._replace(images=np.arange(len(splits.train.labels)))
    parts = divide(splits._replace(train=positions), settings)
    found = {}
    for name, short in (("train", "train"), ("validation", "val"), ("test", "test")):
        part = getattr(parts, name)
        if part is None:
            continue
        own = name != "train" and getattr(splits, name) is not None
        places = range(len(part.labels)) if own else part.images.tolist()
        if splits.photos is None:
            found[name] = [f"{short if own else 'train'}[{k}]" for k in places]
        else:
            files = splits.photos.paths[name if own else "train"]
            found[name] = [files[k] for k in places]
    return found


def take(dataset: Dataset, index: Any) -> Dataset:
    """The samples at `index`."""
    return Dataset(take_rows(dataset.images, index), dataset.labels[index], dataset.classes)


def check_trainable(splits: Splits) -> None:
    """Refuse data that there is nothing to learn from."""
    present = len(np.unique(splits.train.labels))
    if present < 2:
        raise Failure(
            ExitCode.DATA,
            f"error: {splits.name}: its {len(splits.train.labels):,} training images are all of "
            "one class; a classifier needs two classes at least"
            + ("" if splits.photos is None else nested_hint(splits.name, splits.train.classes)),
        )


def new_job(settings: dict[str, Any], splits: Splits) -> Job:
    """A job with a fresh model; settles what 'auto' means."""
    check_trainable(splits)
    shape = splits.train.images.shape[1:]
    if settings["arch"] == "auto":
        settings["arch"] = models.choose(shape)
    with blaming(ExitCode.MODEL):
        model = models.make(
            settings["arch"], shape, len(splits.train.classes), seed=settings["seed"]
        )
    model.classes = list(splits.train.classes)
    model.preprocessing = preprocessing_of(splits.train.images)
    if splits.photos is not None:  # their transparent parts were laid on white, whatever they show
        model.preprocessing["background"] = None
    return make_job(settings, splits, model)


def old_job(settings: dict[str, Any], splits: Splits, run: RunFolder) -> Job:
    """The job of an earlier run: its model is described in its state file.

    Whether the data are still the same is checked when the training is resumed.
    """
    with blaming(ExitCode.MODEL):
        if not run.last.exists():
            raise RunError(
                f"{run}: was stopped before its training began, so there is nothing to resume; "
                "start it again"
            )
        _, state = checkpoint.read(run.last)
        model = model_file.from_metadata((state or {}).get("model"))
    return make_job(settings, splits, model)


def make_job(settings: dict[str, Any], splits: Splits, model: Sequential) -> Job:
    """The job on data that are divided into all their parts first."""
    parts = divide(splits, settings)
    if parts.validation is None:  # args.json was changed: every run has such a part
        raise Failure(
            ExitCode.MODEL,
            f"error: the run's val_split is {settings['val_split']!r}; expected a share above 0 "
            "and below 1",
        )
    return Job(
        settings, parts.name, parts.train, parts.validation, parts.test, model, parts.photos,
        names_of(splits, settings),
    )  # fmt: skip


def make_optimizer(settings: dict[str, Any], model: Sequential) -> optim.Optimizer:
    lr, decay = settings["lr"], settings["weight_decay"]
    parameters = model.parameters()
    if settings["optimizer"] == "sgd":
        return optim.SGD(parameters, lr, momentum=0.9, nesterov=True, weight_decay=decay)
    make = {"adam": optim.Adam, "adamw": optim.AdamW}[settings["optimizer"]]
    return make(parameters, lr, weight_decay=decay)


def make_schedule(
    settings: dict[str, Any], optimizer: optim.Optimizer, steps_per_epoch: int
) -> schedulers.Schedule | None:
    """The schedule by name; OneCycle and cosine end with the last step of the last epoch.

    A warm-up takes its epochs from the front: it is the rise of OneCycle, and a straight line up
    before the others, which follow the epochs where these do (plateau).
    """
    epochs, warmup = settings["epochs"], settings["warmup"]
    steps, warm = epochs * steps_per_epoch, warmup * steps_per_epoch
    name = settings["schedule"]
    if name == "onecycle":
        # Its momentum cycle would fight the fixed momentum that the recipes were chosen with.
        share = warmup / epochs if warmup else RISE
        return schedulers.OneCycleLR(
            optimizer, settings["lr"], steps, pct_start=share, cycle_momentum=False
        )
    after: schedulers.Schedule | None = None
    if name == "cosine":
        after = schedulers.CosineAnnealingLR(optimizer, steps - warm, interval="batch")
    elif name == "plateau":
        after = schedulers.ReduceLROnPlateau(optimizer, patience=3)
        if warmup:
            first = 1 / (warmup + 1)
            return schedulers.LinearWarmup(optimizer, warmup, first, after, interval="epoch")
    return schedulers.LinearWarmup(optimizer, warm, WARMUP_START, after) if warmup else after


def make_loss(settings: dict[str, Any], train: Dataset) -> CrossEntropyLoss:
    weight = None
    if settings["class_weight"] == "balanced":
        counts = np.bincount(train.labels, minlength=len(train.classes))
        # A class without samples has no say; its weight only must be a number.
        weight = len(train.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return CrossEntropyLoss(weight, label_smoothing=settings["label_smoothing"])
