"""The frame of a chart as SVG: two linear scales, their ticks, grid and labels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .markup import Markup, tag

WIDTH, HEIGHT = 340, 220  # of a chart, in its own units: one is a pixel on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 20, 38


@dataclass(frozen=True)
class Axes:
    """Where values lie in a chart.

    Attributes
    ----------
    x, y : (low, high)
        Ranges of values.
    height : int
        Of the whole chart.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = HEIGHT

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def down(self, value: float) -> float:
        """The vertical place of a value."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return round(self.bottom - share * (self.bottom - TOP), 1)

    @property
    def bottom(self) -> int:
        """Where the horizontal axis lies."""
        return self.height - BOTTOM

    def frame(
        self,
        x_label: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        y_text: Callable[[float], str],
        x_text: Callable[[float], str] = lambda value: f"{value:g}",
    ) -> list[Markup]:
        """Grid lines, numbers, and the horizontal axis's label."""
        parts = []
        for value in y_ticks:
            y = self.down(value)
            parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
            parts.append(tag("text", y_text(value), class_="end", x=LEFT - 7, y=y + 4))
        for value in x_ticks:
            parts.append(
                tag(
                    "text", x_text(value), class_="middle", x=self.across(value), y=self.bottom + 17
                )
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(tag("text", x_label, class_="middle", x=middle, y=self.bottom + 33))
        return parts

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> Markup:
        """A line through points."""
        places = (f"{self.across(x):g} {self.down(y):g}" for x, y in points)
        return tag("path", class_=class_, d="M" + "L".join(places))

    def dot(self, x: float, y: float, class_: str, text: str, radius: float = 3) -> Markup:
        """A point that tells its values when it is pointed at."""
        return tag("circle", tag("title", text), class_=class_, cx=self.across(x), cy=self.down(y),
                   r=radius)  # fmt: skip


def svg(content: object, label: str, height: int = HEIGHT, width: int = WIDTH) -> Markup:
    """A chart that is as wide as there is room for; `label` says it in words."""
    return tag("svg", content, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def whole_ticks(low: int, high: int, about: int = 6) -> list[float]:
    """The same with whole numbers only, both ends among them where they do not crowd."""
    ticks = [t for t in nice_ticks(low, high, about) if t == round(t)]
    return ticks or [float(low)]
