"""Two tests of whether a heat map tells anything about the model.

`deletion` asks whether the highlighted places matter to the model at all;
`random_weights_similarity` whether the map depends on what the model has learned.
"""

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import whole_number
from ..data.bilinear import resize_map
from ..random import EXPLAIN, permutation
from ..sequential import Sequential
from .heat import FloatArray, Heat, grad_cam, one_picture

STEPS = 16  # of a deletion
BLUR_CELLS = 5  # along each side of a blurred picture


@dataclass(frozen=True)
class Deletion:
    """What `deletion` found.

    Attributes
    ----------
    filler : str
        What deleted cells were replaced by: 'blur', 'mean', 'white' or 'black'.
    shares : (steps + 1,) float64
        Share of the picture that is deleted, from 0 to 1.
    highlighted : (steps + 1,) float64
        Probability of the class when the most highlighted cells go first.
    random : (orders, steps + 1) float64
        The same for cells in random orders.
    """

    filler: str
    shares: NDArray[np.float64]
    highlighted: NDArray[np.float64]
    random: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Mean probability over the whole deletion, highlighted cells first; lower is better."""
        return float(np.trapezoid(self.highlighted, self.shares))

    @property
    def random_area(self) -> float:
        """Mean probability over the whole deletion, mean of the random orders."""
        return float(np.trapezoid(self.random.mean(axis=0), self.shares))

    @property
    def score(self) -> float:
        """How much faster the probability falls than by chance: above 0, the places matter."""
        return self.random_area - self.area


def deletion(
    model: Sequential, x: ArrayLike, heat: Heat, cells: int = 14, orders: int = 5, seed: int = 0
) -> Deletion:
    """How the class's probability falls as the picture is deleted, highlighted places first.

    The picture is divided into cells, which are replaced a few at a time: by the same place of a
    strongly blurred picture, which has no edges of its own. When the model still sees the class
    in the blurred picture (sky stays sky), plain colours are tried: the mean one, white, black.
    The comparison deletes the same cells in random orders.

    Parameters
    ----------
    x : (C, H, W) float32, or uint8 (scaled to 0…1)
        The picture that `heat` is of.
    cells : int
        Along each side; the pixels of a side are the most there can be.
    orders : int
        Number of random orders.
    seed : int
        Decides the random orders.

    Raises
    ------
    ValueError
        `heat` is of a picture of another size.

    Source: Petsiuk, Das & Saenko, "RISE: randomized input sampling for explanation of black-box
    models" (2018), section 4.1. There single pixels are deleted; holes of one pixel change the
    texture of the whole picture, so that a random order does as much harm as a good one.
    """
    picture = one_picture(x)[0]
    if heat.values.shape != picture.shape[1:]:
        raise ValueError(
            f"heat is of a picture of {heat.values.shape}, x of {picture.shape[1:]}; expected the "
            "same picture"
        )
    height, width = heat.values.shape
    cell = _cell_of_pixel(height, width, whole_number(cells, "cells"))
    count = int(cell.max()) + 1
    sizes = np.bincount(cell.ravel())
    importance = np.bincount(cell.ravel(), heat.values.ravel()) / sizes
    whole_number(orders, "orders")
    steps = np.unique(np.linspace(0, count, STEPS + 1).astype(int))
    filler, blank = _choose_filler(model, picture, heat)
    orders_tried = [np.argsort(-importance, kind="stable")]
    orders_tried += [permutation(count, seed, EXPLAIN, k) for k in range(orders)]
    turns = [np.argsort(order)[cell] for order in orders_tried]  # when each pixel is deleted
    found = [
        _probabilities(model, [np.where(turn < step, blank, picture) for step in steps], heat)
        for turn in turns
    ]
    return Deletion(filler, steps / count, found[0], np.array(found[1:]))


def random_weights_similarity(
    model: Sequential, x: ArrayLike, heat: Heat, draws: int = 5, seed: int = 0
) -> float:
    """Mean rank correlation of the map with those of the same net with random weights.

    Near 0: the map comes from what was learned. Near 1: it comes from the picture and the
    architecture alone, and explains nothing.

    Parameters
    ----------
    x : (C, H, W) float32, or uint8 (scaled to 0…1)
        The picture that `heat` is of.
    draws : int
        Number of random nets, at least 1.
    seed : int
        Decides their weights.

    Returns
    -------
    float
        Spearman's coefficient, -1 to 1; a map without differences counts as 0.

    Source: Adebayo et al., "Sanity checks for saliency maps" (2018), section 3, all layers drawn
    anew.
    """
    probe = copy.deepcopy(model)
    found = []
    for draw in range(whole_number(draws, "draws")):
        probe.reset_parameters(seed, draw * len(model.leaves()))
        other = grad_cam(probe, x, heat.target, heat.layer)
        found.append(_rank_correlation(heat.raw.ravel(), other.raw.ravel()))
    return float(np.mean(found))


def _cell_of_pixel(height: int, width: int, cells: int) -> NDArray[np.intp]:
    """The number of the cell that each pixel lies in, (H, W), from 0 without gaps."""
    down, across = min(cells, height), min(cells, width)
    rows = np.arange(height) * down // height
    columns = np.arange(width) * across // width
    return rows[:, None] * across + columns


def _choose_filler(model: Sequential, picture: FloatArray, heat: Heat) -> tuple[str, FloatArray]:
    """The first filler that at least halves the probability; if none does, the best."""
    level = np.ones_like(picture)
    # White is 1 for values that were scaled, and 255 for a model that takes bytes as they are.
    full = 1 if picture.max() <= 1 else max(255, float(picture.max()))
    fillers = {
        "blur": _blurred(picture),
        "mean": level * picture.mean(axis=(1, 2), keepdims=True),
        "white": level * np.float32(full),
        "black": np.zeros_like(picture),
    }
    left = dict(zip(fillers, _probabilities(model, list(fillers.values()), heat), strict=True))
    fit = [name for name in fillers if left[name] <= heat.probability / 2]
    name = fit[0] if fit else min(left, key=lambda key: left[key])
    return name, fillers[name]


def _blurred(picture: FloatArray) -> FloatArray:
    """Means over a coarse grid, with bilinear interpolation between them."""
    height, width = picture.shape[1:]
    cell = _cell_of_pixel(height, width, BLUR_CELLS)
    sizes = np.bincount(cell.ravel())
    grid = (min(BLUR_CELLS, height), min(BLUR_CELLS, width))
    means = [np.bincount(cell.ravel(), plane.ravel()) / sizes for plane in picture]
    coarse = [mean.reshape(grid).astype(np.float32) for mean in means]
    return np.stack([resize_map(plane, height, width) for plane in coarse])


def _probabilities(
    model: Sequential, pictures: list[FloatArray], heat: Heat
) -> NDArray[np.float64]:
    """The probability of the class of `heat` for each picture, (N,)."""
    batch = np.stack(pictures).astype(np.float32)
    return np.asarray(model.predict_proba(batch)[:, heat.target], np.float64)


def _rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's coefficient of two (n,) arrays; 0 where one has no differences."""
    ranks = [_ranks(values) for values in (a, b)]
    ranks = [rank - rank.mean() for rank in ranks]
    norm = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / norm if norm > 0 else 0.0


def _ranks(values: FloatArray) -> NDArray[np.float64]:
    """Places in increasing order, from 0; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[group], np.float64)
