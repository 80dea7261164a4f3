"""From a job and its best model to report.html."""

import csv
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import explain, report, runs
from ..data.errors import DataError
from ..data.pictures import load_picture
from ..sequential import Sequential
from .job import MONITOR, Job
from .text import plural

OVERLAY_WIDTH = 600  # pixels of a picture with its map beside it
OVERLAY_SIDE = 224  # pixels that photos are read with, for the map to lie on


def write_report(
    job: Job,
    folder: runs.RunFolder,
    model: Sequential,
    judged: Sequence[report.Judged],
    complete: bool,
    ended: str | None = None,
) -> None:
    """Write report.html, whole or not at all.

    Parameters
    ----------
    judged : sequence of Judged
        The first one is what the report is about.
    complete : bool
        Whether the training came to its end.
    ended : str or None
        Why it ended before its last epoch.
    """
    facts = facts_of(job, folder, model, judged, complete, ended)
    runs.write_bytes(folder.report, report.page(facts).encode())


def facts_of(
    job: Job,
    folder: runs.RunFolder,
    model: Sequential,
    judged: Sequence[report.Judged],
    complete: bool,
    ended: str | None = None,
) -> report.Facts:
    """Everything that the report shows."""
    first = judged[0]
    history = read_history(folder)
    environment = folder.read(folder.environment) if folder.environment.exists() else {}
    parts = {"training": job.train, "validation": job.validation, "test": job.test}
    counts = {
        name: np.bincount(part.labels, minlength=len(job.train.classes)).tolist()
        for name, part in parts.items()
        if part is not None
    }
    album = Album(job, model, first)
    return report.Facts(
        run=os.fspath(folder.folder),
        data=job.settings["data"] or job.name,
        architecture=job.settings["arch"],
        parameters=sum(p.size for p in model.parameters()),
        input_shape=job.train.images.shape[1:],
        classes=job.train.classes,
        epochs=job.settings["epochs"],
        history=history,
        best_epoch=min(history, key=lambda row: row[MONITOR])["epoch"],
        judged=judged,
        temperature=model.temperature,
        counts=counts,
        from_files=model.preprocessing.get("divisor") == 255,
        complete=complete,
        ended=ended,
        notes=_notes(job),
        left_out=[
            (os.path.relpath(path, job.name), reason)
            for path, reason in (job.photos.problems if job.photos else ())
        ],
        inspection=job.findings,
        mistakes=[album.show(k) for k in report.confident_mistakes(first)],
        hits=[album.show(k) for k in report.unsure_hits(first)],
        explained=album.explained(),
        settings={**job.settings, "data": job.settings["data"] or "digits"},
        environment=environment,
        command=environment.get("command", ()),
    )


def read_history(folder: runs.RunFolder) -> list[dict[str, Any]]:
    """The rows of results.csv; RunError when there are none that can be read."""
    try:
        with open(folder.results, encoding="utf-8", newline="") as file:
            rows = [
                {key: float(value) if value else None for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
        for row in rows:
            row["epoch"] = int(row["epoch"])  # type: ignore[arg-type]
            row[MONITOR] = float(row[MONITOR])  # type: ignore[arg-type]
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise runs.RunError(f"{folder.results}: missing or damaged: {error!r}") from None
    if not rows:
        raise runs.RunError(f"{folder.results}: holds no epoch; train first")
    return rows


class Album:
    """The pictures of one judged part, as the report shows them."""

    def __init__(self, job: Job, model: Sequential, judged: report.Judged):
        self.model = model
        self.judged = judged
        self.classes = job.train.classes
        part = job.test if judged.part == "test" else job.validation
        assert part is not None
        self.images = part.images
        self.paths = job.paths.get(judged.part)
        self.root = job.name

    def show(self, k: int) -> report.Shown:
        """Sample `k`: photos from their files, in their own proportions."""
        picture = None
        if self.paths is not None:
            picture = report.thumbnail(self.paths[k], self.model.preprocessing)
        return self._shown(k, picture or report.encode(self.images[k]))

    def explained(self) -> list[report.Shown]:
        """Grad-CAM of a few; none for a model without a convolution, or with a single place."""
        try:
            layer = explain.default_layer(self.model)
        except ValueError:
            return []
        found = []
        for k in report.to_explain(self.judged):
            image = self.images[k]
            heat = explain.grad_cam(self.model, image, int(self.judged.answers[k]), layer)
            if heat.raw.size == 1:
                return []
            both = explain.overlay(self._large(k), heat.values)
            found.append(self._shown(k, report.encode_pixels(both, OVERLAY_WIDTH)))
        return found

    def _large(self, k: int) -> NDArray[np.uint8]:
        """Sample `k` as the model saw it; a photo with more pixels, where its file is there."""
        image = self.images[k]
        if self.paths is not None:
            scale = max(1.0, OVERLAY_SIDE / max(image.shape[1:]))
            size = [round(side * scale) for side in image.shape[1:]]
            try:
                return load_picture(self.paths[k], {**self.model.preprocessing, "size": size})
            except DataError:
                pass  # gone since it was read: its pixels are still here
        return report.as_bytes(image)

    def _shown(self, k: int, picture: report.Picture) -> report.Shown:
        row = self.judged.probabilities[k]
        order = np.argsort(-row, kind="stable")[:2]
        first, second = int(order[0]), int(order[-1])
        name = f"{self.judged.part} image {k}"
        if self.paths is not None:
            name = os.path.relpath(self.paths[k], self.root)
        return report.Shown(
            picture, self.classes[int(self.judged.labels[k])], self.classes[first],
            float(row[first]), (self.classes[second], float(row[second])), name,
        )  # fmt: skip


def _notes(job: Job) -> list[str]:
    """What is worth knowing of how the data were read."""
    notes = []
    if job.photos is not None:
        height, width = job.photos.size
        notes.append(f"Photos were turned by their EXIF data and stretched to {width}×{height}.")
        for paths, what in (
            (job.photos.hidden, "hidden"), (job.photos.foreign, "no pictures by their names"),
        ):  # fmt: skip
            if paths:
                names = ", ".join(os.path.basename(path) for path in paths[:3])
                more = ", …" if len(paths) > 3 else ""
                files = plural(len(paths), "file or folder", "files and folders")
                notes.append(f"{files} passed over, {what}: {names}{more}")
    missing = [name for name, count in zip(
        job.train.classes, np.bincount(job.validation.labels, minlength=len(job.train.classes)),
        strict=True) if not count]  # fmt: skip
    if missing:
        names = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        notes.append(f"Without an image in the validation part: {names}.")
    return notes
