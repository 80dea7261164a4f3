"""Pictures of a training run: the curves and the confusion matrix, as PNG.

They need matplotlib, which is an extra: `pip install ".[report]"` from the checkout.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .markup import percent

INK, FAINT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
TRAINING, VALIDATION, BEST = "#0b7285", "#d9480f", "#2b8a3e"
NUMBERED = 20  # classes up to which every cell of the matrix carries its numbers


class MissingExtra(ImportError):
    """An optional package is not installed; the message says how to get it."""


def draw_curves(history: Sequence[Mapping[str, Any]], best_epoch: int, title: str = "") -> bytes:
    """Loss and accuracy over the epochs, training beside validation, the best epoch marked.

    Parameters
    ----------
    history : sequence of dicts
        One an epoch: 'epoch' (from 1), 'loss', 'accuracy' and, where there is validation data,
        'val_loss', 'val_accuracy'.
    best_epoch : int
        The epoch whose weights are kept.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    MissingExtra
        Without matplotlib.
    """
    figure = _figure(10.0, 4.2, title)
    for k, (name, label, scale) in enumerate(
        [("loss", "loss", 1.0), ("accuracy", "accuracy (%)", 100.0)]
    ):
        axes = figure.add_subplot(1, 2, k + 1)
        _style(axes, label)
        for key, text, colour in (
            (name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION),
        ):  # fmt: skip
            _draw_line(axes, history, key, scale, text, colour)
        axes.axvline(
            best_epoch, color=BEST, linewidth=1.2, linestyle="--", zorder=1,
            label=f"best: epoch {best_epoch}",
        )  # fmt: skip
        axes.legend(frameon=False, labelcolor=INK)
    return _png(figure)


def draw_confusion_matrix(
    matrix: NDArray[np.int64], classes: Sequence[str], title: str = ""
) -> bytes:
    """The confusion matrix: a row for each true class, shaded by its share of the row.

    Parameters
    ----------
    matrix : (K, K) integers
        matrix[i, j] counts the samples of class i that were taken for class j.
    classes : K names
        Up to 20 classes, each cell carries its count and its share of the row.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    MissingExtra
        Without matplotlib.
    """
    k = len(classes)
    names = [_shorten(name) for name in classes]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    numbered = k <= NUMBERED
    side = 2.2 + (0.66 if numbered else 0.16) * k
    side = min(max(side, 4.6), 18.0)
    figure = _figure(side + 0.9, side, title)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", norm=_norm(numbered))
    _style_matrix(axes, names, numbered)
    if numbered:
        _write_cells(axes, matrix, shares)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03, format="{x:.0%}")
    bar.ax.tick_params(length=0, labelcolor=FAINT, labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label("share of the true class", color=FAINT, fontsize=9)
    return _png(figure)


def _norm(numbered: bool) -> Any:
    """From share to shade: without numbers, small shares have to show by their shade alone."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(1.0 if numbered else 0.5, vmin=0, vmax=1)


def _style_matrix(axes: Any, names: Sequence[str], numbered: bool) -> None:
    """Names at both sides, white lines between the cells."""
    k, size = len(names), 9 if numbered else 6
    slant = 0 if max(map(len, names)) <= 4 else 45 if numbered else 90
    anchor = {"ha": "right", "rotation_mode": "anchor"} if slant == 45 else {}
    axes.set_xticks(range(k), names, rotation=slant, fontsize=size, color=INK, **anchor)
    axes.set_yticks(range(k), names, fontsize=size, color=INK)
    axes.set_xlabel("predicted", color=FAINT)
    axes.set_ylabel("true", color=FAINT)
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5 if numbered else 0.3)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _write_cells(axes: Any, matrix: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """Count and share in every cell that is not empty, light on dark."""
    for (i, j), count in np.ndenumerate(matrix):
        if count == 0:
            continue
        share = float(shares[i, j])
        text = f"{count:,}\n{percent(share)}"
        colour = "white" if share > 0.55 else INK
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour, linespacing=1.25)


def _draw_line(
    axes: Any, history: Sequence[Mapping[str, Any]], key: str, scale: float, text: str, colour: str
) -> None:
    points = [(row["epoch"], row[key] * scale) for row in history if row.get(key) is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        marker = "o" if len(points) <= 30 else ""
        axes.plot(
            epochs, values, color=colour, label=text, linewidth=1.8, marker=marker, markersize=3.5
        )


def _style(axes: Any, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", color=FAINT)
    axes.set_title(label, color=INK, fontsize=11, loc="left")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=FAINT, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _figure(width: float, height: float, title: str) -> Any:
    """A figure of its own: no pyplot, so no global state and no window system."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra(
            "pictures need matplotlib, which is not installed; "
            'run: pip install ".[report]" in the minicnn checkout'
        ) from None
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, color=INK, fontsize=12)
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that no installed font has is drawn as boxes; that is no
        # reason to bother whoever trains.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _shorten(name: str, width: int = 18) -> str:
    """A class name that fits beside the matrix; `$` would start a formula."""
    short = name if len(name) <= width else name[: width - 1] + "…"
    return short.replace("$", r"\$")
