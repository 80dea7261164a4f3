"""The reliability diagram: how often answers are right, against how sure they are."""

import math

from ..calibration import (
    BINS,
    Reliability,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from .axes import LEFT, RIGHT, WIDTH, Axes, svg
from .facts import Judged
from .markup import Markup, percent, plural, table, tag

HEIGHT = 320
STRIP = 54  # of the counts below
TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def diagram(judged: Judged, temperature: float) -> Markup:
    """The chart: with temperature, and where that is not 1 also without."""
    calibrated = temperature != 1
    after = reliability(judged.labels, judged.probabilities)
    axes = Axes((0.0, 1.0), (0.0, 1.0), HEIGHT)
    parts = axes.frame("confidence of the answer", TENTHS, TENTHS, _percent, _percent)
    parts.append(axes.path([(0, 0), (1, 1)], "ideal"))
    if calibrated:
        parts += _series(axes, reliability(judged.labels, judged.before), "b", "without")
    parts += _series(axes, after, "a", "with" if calibrated else "")
    entries = [_entry("a", "with temperature" if calibrated else "answers")]
    if calibrated:
        entries.append(_entry("b", "without"))
    entries.append(_entry("ideal", "ideal"))
    caption = tag("figcaption", tag("b", "Share of right answers"),
                  tag("span", entries, class_="legend"))  # fmt: skip
    error = expected_calibration_error(judged.labels, judged.probabilities)
    words = (
        f"Reliability diagram of the {judged.part} part: accuracy against confidence in {BINS} "
        f"bins; expected calibration error {percent(error)}"
    )
    return tag("figure", caption, svg(parts, words, HEIGHT), _counts(after))


def scores(judged: Judged, temperature: float) -> Markup:
    """ECE, NLL and Brier score, before and after."""
    kinds = [("with temperature" if temperature != 1 else "answers", judged.probabilities)]
    if temperature != 1:
        kinds.insert(0, ("without temperature", judged.before))
    rows = [
        [name, percent(expected_calibration_error(judged.labels, p), 2),
         f"{negative_log_likelihood(judged.labels, p):.4f}",
         f"{brier_score(judged.labels, p):.4f}"]
        for name, p in kinds
    ]  # fmt: skip
    return table(["", "calibration error", "log-loss", "Brier score"], rows)


def _series(axes: Axes, found: Reliability, kind: str, name: str) -> list[Markup]:
    """Points as large as their number of answers, joined by a line."""
    most = max(int(found.count.max()), 1)
    points = [
        (float(c), float(a), int(n))
        for c, a, n in zip(found.confidence, found.accuracy, found.count, strict=True)
        if n
    ]
    line = axes.path([(c, a) for c, a, _ in points], f"line thin {kind}")
    dots = [
        axes.dot(
            c, a, f"dot {kind}",
            f"{name + ' temperature: ' if name else ''}{plural(n, 'answer')} of confidence "
            f"{percent(c)}, right {percent(a)}",
            round(2.2 + 4.5 * math.sqrt(n / most), 1),
        )
        for c, a, n in points
    ]  # fmt: skip
    return [line, *dots]


def _counts(found: Reliability) -> Markup:
    """How many answers each bin holds, as columns below the chart."""
    most = max(int(found.count.max()), 1)
    width = (WIDTH - LEFT - RIGHT) / len(found.count)
    columns = []
    for k, count in enumerate(found.count.tolist()):
        height = 0.0 if not count else max(1.0, round((STRIP - 18) * count / most, 1))
        low, high = (100 * (k + d) / len(found.count) for d in (0, 1))
        text = f"{plural(count, 'answer')} of confidence {low:.0f} to {high:.0f} %"
        columns.append(
            tag("rect", tag("title", text), class_="column", x=round(LEFT + k * width + 1, 1),
                y=STRIP - height, width=round(width - 2, 1), height=height)
        )  # fmt: skip
    label = tag("text", "answers per bin", class_="start", x=LEFT, y=11)
    words = f"Number of answers in each bin of confidence, at most {most:,}"
    return svg([label, *columns], words, STRIP)


def _entry(kind: str, name: str) -> Markup:
    class_ = "ideal" if kind == "ideal" else f"line {kind}"
    swatch = tag("svg", tag("line", class_=class_, x1=1, x2=21, y1=5, y2=5),
                 class_="swatch", viewBox="0 0 22 10", aria_hidden="true")  # fmt: skip
    return tag("span", swatch, name)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
