"""What was taken for what: the confusion matrix, at any number of classes."""

from collections.abc import Sequence
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray

from .markup import Markup, name, percent, table, tag

NUMBERED = 20  # classes up to which every cell carries its count
SHARED = 12  # classes up to which it carries its share as well
DRAWN = 200  # classes up to which each one has a row of its own
GROUPS = 100  # rows of the picture of more classes than that
CONFUSIONS = 15  # that are listed
CONFUSIONS_OF_MANY = 50  # the same where the picture has no row for each class
DARK = 0.55  # shade from which on the text is light
WIDTH = 880  # pixels that the picture should take, beside the names
TOLD = 3000  # squares up to which each one says what it is
FAINTEST = 0.22  # shade of the rarest mistake
LONG = 4  # letters of a name that still stand upright above a column

Counts = NDArray[np.int64]


def confusion(matrix: Counts, classes: Sequence[str]) -> Markup:
    """The matrix as a table, or for many classes as a picture; and the most frequent mistakes."""
    k = len(classes)
    if k <= NUMBERED:
        parts = [_numbered(matrix, classes)]
    else:
        parts = [_drawn(matrix, classes)]
    if k > 2:
        parts.append(
            _most_frequent(matrix, classes, CONFUSIONS if k <= DRAWN else CONFUSIONS_OF_MANY)
        )
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
    """Small squares, shaded by the root of their share, so that rare mistakes show.

    Above DRAWN classes a row is a group of neighbours, and a small square on the diagonal their
    being taken for each other.
    """
    k = len(classes)
    size = 1 if k <= DRAWN else -(-k // GROUPS)
    starts = np.arange(0, k, size)
    hits = np.add.reduceat(matrix.diagonal(), starts)
    wrong = matrix - np.diag(matrix.diagonal())
    wrong = np.add.reduceat(np.add.reduceat(wrong, starts, axis=0), starts, axis=1)
    groups = [classes[start : start + size] for start in starts.tolist()]
    note = (
        "Rows are true classes, columns what they were taken for, in the same order. Blue squares "
        "are right answers, orange ones mistakes; the stronger, the larger the share of the row."
    )
    if size > 1:
        note += (
            f" Each row stands for {size} classes that follow each other; a small orange square on "
            "the diagonal for mistakes among these."
        )
    words = f"Confusion matrix of {k} classes; the most frequent mistakes are listed below"
    return Markup(_squares(hits, wrong, groups, words) + tag("p", note, class_="note"))


def _squares(hits: Counts, wrong: Counts, groups: Sequence[Sequence[str]], words: str) -> Markup:
    """Right answers on the diagonal, mistakes beside it (and smaller on it)."""
    k = len(groups)
    labels = [_short(group[0]) + " …" * (len(group) > 1) for group in groups]
    names = [group[0] + (f" – {group[-1]}" if len(group) > 1 else "") for group in groups]
    side = min(max(WIDTH // k, 6), 12)
    left = round(side * 0.58 * max(_width(label) for label in labels) + 8, 1)
    totals = np.maximum(hits + wrong.sum(axis=1), 1)
    told = np.count_nonzero(hits) + np.count_nonzero(wrong) <= TOLD
    parts = []

    def square(kind: str, i: int, j: int, count: int, text: str) -> Markup:
        shade, small = float(np.sqrt(count / totals[i])), kind == "miss" and i == j
        return tag(
            "rect", tag("title", f"{text}: {count:,}") if told else None, class_=kind,
            x=left + j * side, y=i * side, width=side / 2 if small else side - 1,
            height=side / 2 if small else side - 1, fill_opacity=f"{max(shade, 0.15):.2f}",
        )  # fmt: skip

    for i, label in enumerate(labels):
        parts.append(tag("text", label, class_="end", x=left - 4, y=(i + 0.8) * side,
                         style=f"font-size:{0.9 * side:g}px"))  # fmt: skip
        if hits[i]:
            parts.append(square("hit", i, i, int(hits[i]), f"{names[i]} recognized"))
        for j in np.flatnonzero(wrong[i]).tolist():
            parts.append(square("miss", i, j, int(wrong[i, j]), f"{names[i]} taken for {names[j]}"))
    frame = tag("rect", class_="frame", x=left - 1, y=-0.5, width=k * side, height=k * side)
    width = round(left + k * side + 2)
    picture = tag("svg", frame, parts, viewBox=f"0 -1 {width} {k * side + 2}", role="img",
                  aria_label=words, style=f"width:{width}px")  # fmt: skip
    return tag("div", picture, class_="box", tabindex="0")


def _most_frequent(matrix: Counts, classes: Sequence[str], most: int) -> Markup:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [
        [name(classes[i]), name(classes[j]), f"{wrong[i, j]:,}",
         percent(wrong[i, j] / matrix[i].sum())]
        for i, j in pairs if wrong[i, j]
    ]  # fmt: skip
    if not rows:
        return tag("p", "No image was taken for another class.")
    head = ["true class", "was taken for", "images", "share"]
    return Markup(
        tag("h3", "Most frequent mistakes") + table(head, rows, text=2, tall=most > CONFUSIONS)
    )


def _width(label: str) -> int:
    """In letters; those of East Asian scripts are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in label)


def _short(label: str, width: int = 18) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"
