"""Finite differences that can be believed in float32.

A `Probe` compares a claimed gradient with the function itself. The step into each direction is
found, not given: large steps suffer from curvature, small ones from rounding, so steps from
scale/4 to scale/65536 are tried until the claim fits, and if it never does, the answer comes
from where two neighbouring steps agree best. What is differenced is the residual

    r(t) = f(x(t)) − f(x) − claimed · (x(t) − x)

with the x(t) that float32 really made of x + t · direction, so the rounding of the step itself
cancels. The rounding of f is measured, not assumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers.base import FloatArray

Float64Array = NDArray[np.float64]
MOST_SINGLE = 24  # coordinates that are tested one by one
MOST_GROUPS = 24  # groups that cover all of them
GROUP = 256  # coordinates of a group, as long as MOST_GROUPS are enough
MOST_DROPPED = 16  # corners looked for in one group
MOST_WORK = 4e7  # values computed in the search of one array, and within these bounds:
EVALUATIONS = (1500, 10_000)
EPSILON = 2.0**-24  # relative rounding error of float32
NOISE = 20  # an error of this many standard deviations of rounding means nothing
LEVELS = tuple(2.0**-k for k in (2, 4, 6, 8, 10, 12, 14, 16))  # steps, in units of the scale


def rms(array: NDArray[Any]) -> float:
    """Root of the mean square; 0 for no values."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0


@dataclass(frozen=True)
class Deviation:
    """By how much the true slope differs from the claimed one, along a direction.

    `error` is per unit of t, that is, per step of one scale; `least` is the smallest found at
    any step; `kink` says that the function has a corner here and the claim is one of its
    one-sided slopes or lies between them.
    """

    error: float
    least: float
    kink: bool = False


class Probe:
    """Compares `claimed` with the slopes of a function around `start`.

    Parameters
    ----------
    evaluate : function of a float32 array like `start`, returns a float64 vector
        Its sum is the function; the parts tell how much of it a step touches.
    start : float32 array
    claimed : array of the same shape, finite: the gradient under test
    scale : float
        Typical size of the values in `start`; the unit of the steps.
    generator : numpy.random.Generator
    """

    def __init__(
        self,
        evaluate: Callable[[FloatArray], Float64Array],
        start: FloatArray,
        claimed: FloatArray,
        scale: float,
        generator: np.random.Generator,
    ):
        self.evaluate = evaluate
        self.start = start
        self.claimed: Float64Array = claimed.astype(np.float64).reshape(-1)
        self.scale = scale
        self.evaluations = 0
        self.base = evaluate(start.copy())
        self.size = float(np.linalg.norm(self.base))
        self.noise = self.measured_noise(generator)

    def residual(
        self, where: NDArray[np.intp], direction: Float64Array, t: float
    ) -> tuple[float, float]:
        """r(t) for the coordinates `where`, moved by t · scale · direction, and its rounding."""
        moved = self.start.copy()
        flat = moved.reshape(-1)
        before = flat[where].astype(np.float64)
        flat[where] = before + t * self.scale * direction
        step = flat[where].astype(np.float64) - before
        change = self.evaluate(moved) - self.base
        self.evaluations += 1
        touched = float(np.linalg.norm(self.base[change != 0]))
        rounding = self.noise * (touched / self.size if self.size else 1.0)
        return float(change.sum() - self.claimed[where] @ step), rounding

    def measured_noise(self, generator: np.random.Generator) -> float:
        """Standard deviation of the rounding in the function.

        Over steps far too small for curvature, second differences of a function are rounding
        alone; they have √6 times its deviation. Where the function rounds at all, at least
        half a digit of every part counts: it may be too coarse to be moved by such steps.
        """
        self.noise = 0.0
        everywhere = np.arange(self.start.size)
        direction = generator.choice((-1.0, 1.0), self.start.size)
        values = [self.residual(everywhere, direction, k * 2.0**-20)[0] for k in range(-5, 6)]
        differences = np.abs(np.diff(values, 2))
        finite = differences[np.isfinite(differences)]
        noise = float(np.median(finite)) / 0.6745 / 6**0.5 if finite.size else 0.0
        least = 0.3 * EPSILON * self.size
        # One part alone is a loss, which is summed in float64; without any rounding, as in
        # ReLU, what is left is that of the sum here.
        return max(noise, least) if len(self.base) > 1 and noise > 1e-6 * least else noise

    def deviation(
        self, where: NDArray[np.intp], direction: Float64Array, enough: float, trust: float
    ) -> Deviation:
        """The difference between true and claimed slope.

        Stops early when it is `enough` or less at two steps in a row (one may be an accident, of
        corners that happen to make up for an error), with rounding below `trust` at both.
        """
        errors: list[float] = []
        roundings: list[float] = []
        sides: list[tuple[float, float]] = []  # one-sided slopes of r, upwards and downwards
        agreed, noise = 0, 0.0
        for t in LEVELS:
            tried = [self.residual(where, direction, step) for step in (t, -t, 2 * t, -2 * t)]
            up, down, far_up, far_down = (r for r, _ in tried)
            # Odd parts δt + ct³ at t and 2t; together they give δ up to the fifth order.
            errors.append((8 * (up - down) - (far_up - far_down)) / (12 * t))
            # The largest steps show which parts depend on these coordinates; the smallest may
            # leave a part as it is by rounding alone.
            noise = max(noise, *(rounding for _, rounding in tried))
            roundings.append(1.5 * noise / t)
            sides.append((up / t, -down / t))
            sides.append((far_up / (2 * t), -far_down / (2 * t)))
            fits = abs(errors[-1]) <= enough and roundings[-1] <= trust
            agreed = agreed + 1 if fits else 0
            if agreed == 2:
                return Deviation(errors[-2], abs(errors[-2]))
        if is_kink(sides, [max(enough, 6 * rounding) for rounding in roundings]):
            return Deviation(0.0, 0.0, kink=True)
        finite = [abs(error) for error in errors if np.isfinite(error)]
        return Deviation(most_stable(errors, roundings), min(finite, default=np.inf))


def is_kink(sides: list[tuple[float, float]], floors: list[float]) -> bool:
    """Whether the one-sided slopes stay apart as the step shrinks, with the claim between.

    `sides` holds them for the near and the far step of every level, `floors` what is nothing.
    For a smooth function their gap shrinks with the step, by 4 from level to level.
    """
    gaps = [abs(up - down) for up, down in sides]
    for k in range(6, len(sides)):
        floor = floors[k // 2]
        up, down = sides[k]
        between = up * down <= 0 or min(abs(up), abs(down)) <= floor
        if gaps[k] > floor and gaps[k] > 0.6 * gaps[k - 2] and between:
            return True
    return False


def most_stable(errors: list[float], roundings: list[float]) -> float:
    """The error at the two neighbouring steps that agree best, rounding counted.

    Of the two it is the larger step's, which rounds less, where rounding explains their
    difference; otherwise curvature does, and the smaller step is better.
    """
    changes = np.abs(np.diff(errors))
    doubts = changes + roundings[1:]
    if not np.isfinite(doubts).any():
        return np.inf
    k = int(np.nanargmin(doubts))
    return errors[k] if changes[k] <= 3 * roundings[k + 1] else errors[k + 1]


class Search:
    """Looks for the coordinate of one array whose gradient is furthest off."""

    def __init__(self, probe: Probe, tolerance: float, noise: float):
        self.probe = probe
        self.tolerance = tolerance
        self.typical = rms(probe.claimed)
        self.floor = max(NOISE * probe.noise / probe.scale, noise) / tolerance
        self.worst = (0.0, 0, float(probe.claimed[0]))
        self.kinks = 0
        self.covered = 0.0

    def everywhere(self, generator: np.random.Generator) -> None:
        """Test some coordinates one by one, then all of them in groups.

        `covered` becomes the share of coordinates that were part of a test: less than 1 where
        corners are so many that finding them takes more than the work allowed.
        """
        size = self.probe.start.size
        most = np.clip(MOST_WORK / (size + self.probe.base.size), *EVALUATIONS)
        order = generator.permutation(size)
        for i in order[:MOST_SINGLE]:
            self.single(int(i))
        for group in np.array_split(order, min(MOST_GROUPS, -(-size // GROUP))):
            if self.probe.evaluations < most:
                self.group(group, generator.choice((-1.0, 1.0), len(group)))
                self.covered += len(group) / size

    def hidden(self) -> bool:
        """Whether rounding hides even the typical gradient."""
        return 0 < self.typical < 0.05 * self.floor

    def single(self, i: int) -> bool:
        """Test coordinate i; True when its gradient is right or there is a corner."""
        claimed = float(self.probe.claimed[i])
        unit = max(abs(claimed), 0.01 * self.typical, self.floor)
        allowed = self.tolerance * self.probe.scale * unit
        found = self.probe.deviation(np.array([i]), np.ones(1), 0.02 * allowed, 0.5 * allowed)
        if found.kink:
            self.kinks += 1
            return True
        slope = claimed + found.error / self.probe.scale
        error = np.inf
        if np.isfinite(slope):
            error = abs(slope - claimed) / (max(unit, abs(slope)) or 1.0)
        if not error <= self.worst[0]:
            self.worst = (error, i, slope)
        return error <= self.tolerance

    def group(self, where: NDArray[np.intp], direction: Float64Array) -> None:
        """Test coordinates together; where they disagree, halve to find the one to blame.

        The group's error is the sum of its members', so one wrong member cannot hide. A corner
        that disturbs the sum is found the same way, counted and left out.
        """
        for _ in range(MOST_DROPPED):
            if not len(where) or self.fits(where, direction):
                return
            low, high = 0, len(where)
            while high - low > 1:
                middle = (low + high) // 2
                if self.fits(where[low:middle], direction[low:middle]):
                    low = middle
                else:
                    high = middle
            if not self.single(int(where[low])):
                return
            where, direction = np.delete(where, low), np.delete(direction, low)

    def fits(self, where: NDArray[np.intp], direction: Float64Array) -> bool:
        typical = max(self.typical, self.floor) * self.probe.scale
        allowed = self.tolerance * typical
        found = self.probe.deviation(where, direction, 0.2 * allowed, 0.5 * allowed)
        return abs(found.error) <= 0.2 * allowed and not found.kink
