"""About the run as a whole: its result, its curves, its settings, and how to use the model."""

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from .curves import curves
from .facts import Facts, Judged
from .markup import Content, Markup, name, percent, plural, table, tag

COLOURS = {1: "grey", 3: "colour"}
FEW = 100  # images below which an accuracy is shown as rough
EXACT = 5000  # images from which on accuracies have two decimals


def headline(facts: Facts) -> list[Content]:
    """What came out, in one sentence and a few figures."""
    first = facts.judged[0]
    share = percent(first.accuracy, _digits(first))
    images = plural(len(first.labels), f"{first.part} image")
    parts: list[Content] = [
        tag("p", "minicnn report · ", name(PurePath(facts.run).name), class_="over"),
        tag("h1", f"Right on {share} of {images}"),
        tag("p", _caution(first), class_="lead"),
    ]
    if not facts.complete:
        parts.append(
            tag("p", f"This training was stopped after {plural(len(facts.history), 'epoch')} of "
                f"{facts.epochs}. The report is about the best of them.", class_="state")
        )  # fmt: skip
    elif facts.ended:
        early = f"The training ended after {plural(len(facts.history), 'epoch')}: {facts.ended}."
        parts.append(tag("p", early, class_="note"))
    return [*parts, tag("dl", list(_figures(facts)), class_="facts")]


def _caution(judged: Judged) -> Content:
    low, high = (percent(end, _digits(judged)) for end in judged.interval)
    sure = f"With 95 % confidence, the true rate lies between {low} and {high}"
    if len(judged.labels) < FEW:
        sure += ", a wide range, because there are few images"
    if judged.part == "test":
        return f"{sure}. The model never saw these images and nothing was chosen by them."
    return (
        f"{sure}. The best epoch was chosen by these same images, so new ones may come out a "
        "little worse."
    )


def _figures(facts: Facts) -> Iterator[Markup]:
    for judged in facts.judged:
        low, high = (percent(end, _digits(judged)) for end in judged.interval)
        yield _figure(
            f"accuracy, {judged.part}", percent(judged.accuracy, _digits(judged)),
            f"{judged.hits:,} of {len(judged.labels):,}; {low} to {high}",
        )  # fmt: skip
    channels, height, width = facts.input_shape
    kind = COLOURS.get(channels, f"{channels} channels")
    yield _figure("model", PurePath(facts.architecture).name,
                  f"{plural(facts.parameters, 'parameter')}, {width}×{height} {kind}")  # fmt: skip
    images = plural(sum(sum(counts) for counts in facts.counts.values()), "image")
    classes = plural(len(facts.classes), "class", "classes")
    yield _figure("data", PurePath(facts.data).name, f"{images}, {classes}")
    yield _figure("training", _duration(facts), f"{plural(len(facts.history), 'epoch')}, "
                  f"the best: {facts.best_epoch}")  # fmt: skip
    started = str(facts.environment.get("started", ""))
    if started:
        day, _, time = started.partition("T")
        yield _figure("started", day, f"{time[:5]} {'UTC' if '+00:00' in time else ''}")


def _figure(label: str, value: str, note: str) -> Markup:
    return tag("div", tag("dt", label), tag("dd", name(value), tag("small", note)))


def _duration(facts: Facts) -> str:
    """The time of all epochs, as far as it is known."""
    known = [row["seconds"] for row in facts.history if row.get("seconds") is not None]
    seconds = sum(known)
    if not known or not math.isfinite(seconds):
        return "time unknown"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def curves_section(facts: Facts) -> list[Content]:
    """The curves, and the epochs as a table."""
    rows = [
        [f"{row['epoch']}{' (best)' if row['epoch'] == facts.best_epoch else ''}",
         _number(row.get("loss")), _share(row.get("accuracy")), _number(row.get("val_loss")),
         _share(row.get("val_accuracy")), _number(row.get("lr")), _seconds(row.get("seconds"))]
        for row in facts.history
    ]  # fmt: skip
    head = ["epoch", "loss", "accuracy", "validation loss", "validation accuracy",
            "learning rate", "time"]  # fmt: skip
    return [
        tag("h2", "Training"),
        tag("p", "One point an epoch. The training curve is measured while the weights still "
            "change, the validation curve on images that are not learned from. Where the two "
            "part and validation gets worse, the model learns by heart. The weights of epoch "
            f"{facts.best_epoch}, with the lowest validation loss, were kept.", class_="note"),
        curves(facts.history, facts.best_epoch),
        tag("details", tag("summary", "All epochs as a table"),
            table(head, rows, tall=len(rows) > 20)),
    ]  # fmt: skip


def usage_section(facts: Facts) -> list[Content]:
    """How to put the model to work."""
    run = shlex.quote(facts.run)
    shell = (
        f"minicnn predict {run} photo.jpg another.png\n"
        f"minicnn predict {run} folder --csv > answers.csv\n"
        f"minicnn explain {run} photo.jpg"
    )
    return [
        tag("h2", "Use it"),
        tag("p", "Classes, size and scaling are inside the model file, so pictures of any size "
            "and format can be given as they are.", class_="note"),
        tag("h3", "In a shell"), tag("pre", shell),
        tag("h3", "In Python"), tag("pre", _python(facts)),
        tag("p", f"The order of the outputs is {_listed(facts)}.", class_="note"),
    ]  # fmt: skip


def _python(facts: Facts) -> str:
    """The lines that give the answers of `minicnn predict`."""
    model = json.dumps(os.path.join(facts.run, "model.safetensors"), ensure_ascii=False)
    lines = ["import minicnn as mc", f"model = mc.load({model})"]
    if facts.from_files:
        lines.insert(1, "from minicnn.data.pictures import load_picture")
        lines.append('x = load_picture("photo.jpg", model.preprocessing)[None]')
    else:
        shape = ", ".join(map(str, facts.input_shape))
        lines.append(f"# x: (N, {shape}) array, scaled as the training images were")
    answers = "dict(zip(model.classes, model.predict_proba(x)[0]))"
    return "\n".join([*lines, f"print({answers})"])


def settings_section(facts: Facts) -> list[Content]:
    """All settings, the exact command, and where it ran."""
    settings = [(key, value) for key, value in facts.settings.items() if key != "format"]
    parts: list[Content] = [tag("h2", "Settings")]
    if facts.command:
        parts += [tag("p", "The exact command:", class_="note"),
                  tag("pre", shlex.join(facts.command))]  # fmt: skip
    places = {k: v for k, v in facts.environment.items() if k not in ("command", "started")}
    return [
        *parts,
        tag("div", [
            tag("div", tag("h3", "All settings"), _pairs(settings)),
            tag("div", tag("h3", "Environment"), _pairs(places.items())),
        ], class_="two"),
        tag("footer", "Made by minicnn. Everything on this page is in this one file."),
    ]  # fmt: skip


def _pairs(entries: Any) -> Markup:
    rows = [tag("tr", tag("th", key.replace("_", " "), scope="row"), tag("td", _plain(value)))
            for key, value in entries]  # fmt: skip
    return tag("div", tag("table", tag("tbody", rows), class_="words"), class_="box", tabindex="0")


def _plain(value: Any) -> Content:
    if isinstance(value, Mapping):
        return "\n".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(facts: Facts, most: int = 20) -> str:
    shown = ", ".join(facts.classes[:most])
    return shown + (f" and {len(facts.classes) - most} more" if len(facts.classes) > most else "")


def _digits(judged: Judged) -> int:
    return 2 if len(judged.labels) >= EXACT else 1


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 2)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
