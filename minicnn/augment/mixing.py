"""Two images and their labels in one."""

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number
from .base import Floats, Mixing

NODES = 4096  # of the table that a Beta distribution is drawn from


class MixUp(Mixing):
    """Blends each image with another: λ x + (1 − λ) x', and the labels alike; λ ~ Beta(α, α).

    Parameters
    ----------
    alpha : float in [0.01, 100]
        0.2 leaves most images nearly as they are; with 1 all blends are equally likely.
    p : float in [0, 1]
        Share of the images that are blended.

    Source: Zhang et al., "mixup: Beyond empirical risk minimization" (2018), equation 1. There a
    batch has one λ and is mixed with itself; here each image has its own λ and its partner is
    any image of the data, so that neither depends on the batch.
    """

    draws, names = 1, ("alpha", "p")

    def __init__(self, alpha: float = 0.2, p: float = 1.0):
        self.alpha = _shape_parameter(alpha)
        self.p = real_number(p, "p", maximum=1.0)
        self._table = beta_table(self.alpha)

    def mix(self, x: Floats, others: Floats, u: Floats) -> Floats:
        kept = draw_beta(u[:, 0], self._table).astype(np.float32)
        share = kept[:, None, None, None]
        x *= share
        x += (1 - share) * others
        return kept


class CutMix(Mixing):
    """Puts a rectangle of another image into each, and divides the labels by the areas.

    The rectangle has the image's proportions and the area 1 − λ, λ ~ Beta(α, α); its centre lies
    anywhere, and what is outside of the image is cut off.

    Parameters
    ----------
    alpha : float in [0.01, 100]
        With 1 all areas are equally likely.
    p : float in [0, 1]
        Share of the images that are changed.

    Source: Yun et al., "CutMix: Regularization strategy to train strong classifiers with
    localizable features" (2019), equations 1 and 2; the partner as in `MixUp`.
    """

    draws, names = 3, ("alpha", "p")

    def __init__(self, alpha: float = 1.0, p: float = 1.0):
        self.alpha = _shape_parameter(alpha)
        self.p = real_number(p, "p", maximum=1.0)
        self._table = beta_table(self.alpha)

    def mix(self, x: Floats, others: Floats, u: Floats) -> Floats:
        side = np.sqrt(1.0 - draw_beta(u[:, 0], self._table))
        (top, bottom), (left, right) = (
            _edges(side, u[:, 1 + axis], x.shape[2 + axis]) for axis in range(2)
        )
        for i in range(len(x)):
            box = (..., slice(top[i], bottom[i]), slice(left[i], right[i]))
            x[i][box] = others[i][box]
        covered = (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])
        return np.asarray(1.0 - covered, np.float32)


def _edges(
    side: NDArray[np.float64], u: NDArray[np.float32], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the rectangles begin and end along one axis."""
    centre, half = u.astype(np.float64) * length, side * length / 2
    low, high = (np.rint(edge).astype(np.int64) for edge in (centre - half, centre + half))
    return np.clip(low, 0, length), np.clip(high, 0, length)


def beta_table(alpha: float) -> NDArray[np.float64]:
    """The distribution function of Beta(α, α) on its lower half: (2, NODES + 1), x and F(x).

    The density x^(α−1) (1−x)^(α−1) has a pole at 0 when α < 1. With s = x^e, e = min(α, 1), it
    is x^(α−e) (1−x)^(α−1) / e, which is smooth on that half, and is summed by the midpoint rule.
    """
    exponent = min(alpha, 1.0)
    s = np.linspace(0.0, 0.5**exponent, NODES + 1)
    x = ((s[:-1] + s[1:]) / 2) ** (1 / exponent)
    density = x ** (alpha - exponent) * (1.0 - x) ** (alpha - 1)
    total = np.concatenate([[0.0], np.cumsum(density)])
    return np.stack([s ** (1 / exponent), 0.5 * total / total[-1]])


def draw_beta(u: NDArray[np.float32], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers of Beta(α, α) from uniform ones, by the inverse of its distribution function."""
    lower = np.minimum(u, 1 - u).astype(np.float64)  # symmetric about 1/2
    drawn = np.interp(lower, table[1], table[0])
    return np.asarray(np.where(u < 0.5, drawn, 1.0 - drawn))


def _shape_parameter(alpha: float) -> float:
    number = real_number(alpha, "alpha", maximum=100.0)
    if number < 0.01:
        raise ValueError(f"alpha is {alpha!r}; expected a number of 0.01 to 100")
    return number
