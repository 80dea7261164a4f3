"""The curves of a training: loss, accuracy and learning rate over the epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .axes import LEFT, RIGHT, TOP, WIDTH, Axes, nice_ticks, svg, whole_ticks
from .markup import Markup, percent, tag

Rows = Sequence[Mapping[str, Any]]
Point = tuple[float, float]

DOTTED = 40  # epochs up to which each one gets a point
TRAINING, VALIDATION = "training", "validation"


def curves(history: Rows, best_epoch: int) -> Markup:
    """The three charts with their legends."""
    loss = {TRAINING: _points(history, "loss"), VALIDATION: _points(history, "val_loss")}
    accuracy = {
        TRAINING: _points(history, "accuracy"), VALIDATION: _points(history, "val_accuracy"),
    }  # fmt: skip
    charts = [
        _chart("Loss", loss, best_epoch, _plain, 0.0),
        _chart("Accuracy", accuracy, best_epoch, lambda v: f"{100 * v:g} %", None, 1.0),
    ]
    rates = {"learning rate": _points(history, "lr")}
    if rates["learning rate"]:
        charts.append(_chart("Learning rate", rates, best_epoch, _plain, 0.0))
    return tag("div", charts, class_="charts")


def _points(history: Rows, key: str) -> list[Point]:
    pairs = [(row["epoch"], row.get(key)) for row in history]
    return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


def _chart(
    title: str, lines: Mapping[str, list[Point]], best_epoch: int,
    text: Callable[[float], str], low: float | None, high: float | None = None,
) -> Markup:  # fmt: skip
    lines = {name: points for name, points in lines.items() if points}
    values = [y for points in lines.values() for _, y in points]
    epochs = [int(x) for points in lines.values() for x, _ in points]
    if not values:
        return Markup("")
    bottom, top = _range(min(values) if low is None else low, max(values) if high is None else high)
    first, last = min(epochs), max(epochs)
    edge = 0.5 if first == last else 0.0  # a single epoch stands in the middle
    axes = Axes((first - edge, last + edge), (bottom, top))
    parts = axes.frame("epoch", whole_ticks(first, last), nice_ticks(bottom, top, 4), text)
    parts += _best(axes, best_epoch)
    for name, points in lines.items():
        kind = "b" if name == VALIDATION else "a"
        parts.append(axes.path(points, f"line {kind}"))
        if len(points) <= DOTTED:
            parts += [axes.dot(x, y, f"dot {kind}", f"epoch {x:g}: {name} {_exact(title, y)}", 2.2)
                      for x, y in points]  # fmt: skip
    words = _in_words(title, lines, best_epoch)
    legend = _legend(list(lines)) if len(lines) > 1 else None
    return tag("figure", tag("figcaption", tag("b", title), legend), svg(parts, words))


def _best(axes: Axes, epoch: int) -> list[Markup]:
    x = axes.across(epoch)
    side = "end" if x > WIDTH - RIGHT - 40 else "start" if x < LEFT + 40 else "middle"
    return [
        tag("line", class_="best", x1=x, x2=x, y1=TOP - 4, y2=axes.bottom),
        tag("text", f"best: {epoch}", class_=f"{side} strong", x=x, y=TOP - 8),
    ]


def _legend(names: Sequence[str]) -> Markup:
    def entry(name: str) -> Markup:
        kind = "b" if name == VALIDATION else "a"
        swatch = tag("svg", tag("line", class_=f"line {kind}", x1=1, x2=21, y1=5, y2=5),
                     class_="swatch", viewBox="0 0 22 10", aria_hidden="true")  # fmt: skip
        return tag("span", swatch, name)

    return tag("span", map(entry, names), class_="legend")


def _range(low: float, high: float) -> tuple[float, float]:
    """A range with round ends that is not empty."""
    if high - low < 1e-12:
        high = low + (abs(low) * 0.1 or 1e-3)
    ticks = nice_ticks(low, high, 4)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    start = ticks[0] if low >= ticks[0] - 1e-12 else ticks[0] - step
    end = ticks[-1] if high <= ticks[-1] + 1e-12 else ticks[-1] + step
    return max(start, 0.0) if low >= 0 else start, end


def _in_words(title: str, lines: Mapping[str, list[Point]], best_epoch: int) -> str:
    parts = [
        f"{name} from {_exact(title, points[0][1])} to {_exact(title, points[-1][1])}"
        for name, points in lines.items()
    ]
    epochs = max(int(x) for points in lines.values() for x, _ in points)
    return f"{title} over the epochs up to {epochs}: {', '.join(parts)}; best epoch {best_epoch}"


def _exact(title: str, value: float) -> str:
    return percent(value, 2) if title == "Accuracy" else f"{value:.4g}"


def _plain(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
