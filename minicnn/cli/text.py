"""Pieces of text that several sub-commands share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = {1: "grey", 3: "colour"}
LARGEST_MATRIX = 20  # classes up to which a matrix is readable as text


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun: 1 image, 1,797 images."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def image_text(shape: Sequence[int]) -> str:
    """8×8 grey for (1, 8, 8): width by height, as picture viewers say it."""
    channels, height, width = shape
    return f"{width}×{height} {COLOURS.get(channels, f'{channels} channels')}"


def percent(share: float) -> str:
    """A share with two decimals; only a share of 1 reads 100.00."""
    rounded = round(100 * share, 2)
    if rounded == 100 and share < 1:
        rounded = 99.99
    return f"{rounded:.2f} %"


def bytes_text(count: float) -> str:
    """1.4 MB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def amount(count: float) -> str:
    """4,992, 1.38 M, 2.50 G."""
    if count < 1e5:
        return f"{count:,.0f}"
    return f"{count / 1e6:,.2f} M" if count < 1e9 else f"{count / 1e9:,.2f} G"


def duration(seconds: float) -> str:
    """0.25 s, 12 s, 3.4 min, 2.1 h."""
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 59.95 else f"{minutes / 60:.1f} h"


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows in columns; the first `left` columns start, the others end at a common position."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def scores_table(classes: Sequence[str], scores: Any) -> str:
    """Images, precision, recall and F1 of each class."""
    rows = [["class", "images", "precision", "recall", "F1"]]
    for k, name in enumerate(classes):
        figures = (scores.precision[k], scores.recall[k], scores.f1[k])
        rows.append([name, f"{scores.support[k]:,}", *map(percent, figures)])
    return table(rows)


def confusion_text(matrix: NDArray[np.int64], classes: Sequence[str]) -> str:
    """The confusion matrix, or for many classes the ten most frequent confusions."""
    if len(classes) <= LARGEST_MATRIX:
        head = "rows: true class, columns: predicted class"
        rows = [["", *classes]]
        rows += [
            [name, *(f"{count:,}" if count else "." for count in matrix[i])]
            for i, name in enumerate(classes)
        ]
        return f"{head}\n{table(rows)}"
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [["true", "predicted", "images"]]
    rows += [[classes[i], classes[j], f"{wrong[i, j]:,}"] for i, j in pairs if wrong[i, j]]
    return f"most frequent confusions\n{table(rows, left=2)}" if len(rows) > 1 else "no confusions"
