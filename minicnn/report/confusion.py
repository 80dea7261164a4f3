"""What was taken for what: the confusion matrix, at any number of classes."""

from collections.abc import Sequence
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray

from .markup import Markup, name, percent, table, tag

NUMBERED = 20  # classes up to which every cell carries its count
SHARED = 12  # classes up to which it carries its share as well
DRAWN = 200  # classes up to which there is a picture at all
CONFUSIONS = 15  # that are listed
DARK = 0.55  # shade from which on the text is light
WIDTH = 880  # pixels that the picture should take, beside the names
TOLD = 3000  # squares up to which each one says what it is
FAINTEST = 0.22  # shade of the rarest mistake
LONG = 4  # letters of a name that still stand upright above a column

Counts = NDArray[np.int64]


def confusion(matrix: Counts, classes: Sequence[str]) -> Markup:
    """The matrix as a table, or for many classes as a picture; and the most frequent mistakes."""
    k = len(classes)
    parts = []
    if k <= NUMBERED:
        parts.append(_numbered(matrix, classes))
    elif k <= DRAWN:
        parts.append(_drawn(matrix, classes))
    if k > 2:
        parts.append(_most_frequent(matrix, classes))
    return Markup("".join(parts))


def _numbered(matrix: Counts, classes: Sequence[str]) -> Markup:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    upright = max(map(len, classes)) <= LONG or len(classes) <= 3
    heads = [
        tag("th", tag("span", name(label)), scope="col", class_=None if upright else "steep")
        for label in classes
    ]
    lines = [
        tag("tr", tag("th", name(label), scope="row"),
            [_cell(int(matrix[i, j]), float(shares[i, j]), i == j, len(classes) <= SHARED)
             for j in range(len(classes))])
        for i, label in enumerate(classes)
    ]  # fmt: skip
    corner = tag("th", "true ↓", tag("br"), "predicted →", class_="corner")
    head = tag("thead", tag("tr", corner, heads))
    whole = tag("table", head, tag("tbody", lines), class_="matrix")
    return tag("div", whole, class_="box", tabindex="0")


def _cell(count: int, share: float, hit: bool, shared: bool) -> Markup:
    if not count:
        return tag("td", "·", class_="none")
    kind = f"{'hit' if hit else 'miss'}{' full' if share > DARK else ''}"
    shade = max(share, 0.1 if hit else FAINTEST)
    text = f"{count:,}"
    return tag(
        "td", text, tag("small", percent(share)) if shared else None,
        class_=kind, style=f"--s:{shade:.2f}", title=percent(share),
    )  # fmt: skip


def _drawn(matrix: Counts, classes: Sequence[str]) -> Markup:
    """Small squares, shaded by the root of their share, so that rare mistakes show."""
    k = len(classes)
    side = min(max(WIDTH // k, 6), 12)
    left = round(side * 0.58 * max(_width(_short(label)) for label in classes) + 8, 1)
    shades = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    told = np.count_nonzero(matrix) <= TOLD
    parts = []
    for i, label in enumerate(classes):
        parts.append(tag("text", _short(label), class_="end", x=left - 4, y=(i + 0.8) * side,
                         style=f"font-size:{0.9 * side:g}px"))  # fmt: skip
        for j in np.flatnonzero(matrix[i]).tolist():
            text = f"{label} taken for {classes[j]}: {matrix[i, j]:,}"
            title = tag("title", text) if told else None
            parts.append(
                tag("rect", title, class_="hit" if i == j else "miss",
                    x=left + j * side, y=i * side, width=side - 1, height=side - 1,
                    fill_opacity=f"{max(shades[i, j], 0.15):.2f}")
            )  # fmt: skip
    frame = tag("rect", class_="frame", x=left - 1, y=-0.5, width=k * side, height=k * side)
    words = f"Confusion matrix of {k} classes; the most frequent mistakes are listed below"
    width = round(left + k * side + 2)
    picture = tag("svg", frame, parts, viewBox=f"0 -1 {width} {k * side + 2}", role="img",
                  aria_label=words, style=f"width:{width}px")  # fmt: skip
    note = tag("p", "Rows are true classes, columns what they were taken for, in the same order. "
               "Blue squares are right answers, orange ones mistakes; the stronger, the larger "
               "the share of the row.", class_="note")  # fmt: skip
    return Markup(tag("div", picture, class_="box", tabindex="0") + note)


def _most_frequent(matrix: Counts, classes: Sequence[str]) -> Markup:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [
        [name(classes[i]), name(classes[j]), f"{wrong[i, j]:,}",
         percent(wrong[i, j] / matrix[i].sum())]
        for i, j in pairs if wrong[i, j]
    ]  # fmt: skip
    if not rows:
        return tag("p", "No image was taken for another class.")
    head = ["true class", "was taken for", "images", "share"]
    return Markup(tag("h3", "Most frequent mistakes") + table(head, rows, text=2))


def _width(label: str) -> int:
    """In letters; those of East Asian scripts are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in label)


def _short(label: str, width: int = 18) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"
