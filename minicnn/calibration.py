"""Whether probabilities mean what they say, and one number that mends them.

Of all answers given with 90 %, 90 % should be right. Networks are often surer than that; dividing
their logits by a temperature, fitted on validation data, brings the two together and changes no
answer. Labels are (N,) integers, probabilities (N, K) floats, logits (N, K) floats.

Source: Guo et al., "On calibration of modern neural networks" (2017).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import real_number, whole_number
from .arrays import as_labels
from .kernels.softmax_cross_entropy import softmax
from .threads import get_num_threads

Floats = NDArray[np.float64]

BINS = 15
COLDEST, HOTTEST = 0.01, 100.0  # temperatures that are tried
STEPS = 100  # of the search; ten are usual
SMALLEST = float(np.finfo(np.float64).tiny)  # a probability of 0 costs as much as this one
LEAST = -1e4  # of a divided logit; exp of it is 0
ROUNDING = 1e-3  # how far the sum of a row may be from 1


@dataclass(frozen=True)
class Reliability:
    """Answers in B bins by their confidence, from 0 to 1 in equal steps.

    Attributes
    ----------
    confidence : (B,) float64
        Mean probability of the answers in the bin; 0 where there are none.
    accuracy : (B,) float64
        Share of them that is right; 0 where there are none.
    count : (B,) int64
    """

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]


def fit_temperature(logits: Any, labels: Any) -> float:
    """The temperature T that makes softmax(logits / T) most likely, given the labels.

    T > 1 makes the probabilities less sure, T < 1 more so. In β = 1/T the mean negative
    log-likelihood is convex; with p = softmax(β z) and the label y, a sample adds

        first derivative    Σ_k p[k] z[k] − z[y]
        second derivative   Σ_k p[k] z[k]² − (Σ_k p[k] z[k])²

    The zero of the first is found by Newton's method, kept between bounds by bisection. Where
    every answer is right, the likelihood grows without end as T falls: the data say nothing about
    how often the model errs, and T is 1.

    Returns
    -------
    float
        0.01 to 100; 100 for a model that is no better than chance.

    Raises
    ------
    TypeError, ValueError
        When the arguments do not fit each other, or a logit is not finite.

    Source: Guo et al. (2017), section 4.2.
    """
    z, y = _pair(logits, labels, "logits")
    z = z - z.max(axis=1, keepdims=True)
    rows = np.arange(len(z))
    if not z[rows, y].any():
        return 1.0
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(z, y, low)[0] >= 0:
        return HOTTEST
    if _slope(z, y, high)[0] <= 0:
        return COLDEST
    beta = 1.0
    for _ in range(STEPS):
        first, second = _slope(z, y, beta)
        low, high = (low, beta) if first > 0 else (beta, high)
        # An underflown second derivative makes the step infinite, and no number of 0 / 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = beta - np.float64(first) / second
        after = float(newton) if low < newton < high else float(np.sqrt(low * high))
        if abs(after - beta) <= 1e-12 * beta:
            break
        beta = after
    return 1 / beta


def probabilities(logits: Any, temperature: float = 1.0) -> Floats:
    """softmax(logits / temperature), (N, K) float64.

    Raises
    ------
    TypeError, ValueError
        When an argument is no number above 0, or no (N, K) floats.
    """
    z = _rows(logits, "logits") / check_temperature(temperature)
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def divide_logits(logits: NDArray[np.float32], temperature: Any) -> NDArray[np.float32]:
    """(N, K) logits divided by a temperature; themselves where it is 1.

    Otherwise the largest of each row becomes 0, and the others stop at -10,000, which is a
    probability of 0: no quotient leaves the range of float32.
    """
    divisor = check_temperature(temperature)
    if divisor == 1:
        return logits
    quotients = (logits - logits.max(axis=1, keepdims=True)) / np.float64(divisor)
    return np.asarray(np.maximum(quotients, LEAST), np.float32)


def divided_softmax(logits: NDArray[np.float32], temperature: Any) -> NDArray[np.float32]:
    """softmax(logits / temperature) as the models give it: a new (N, K) float32 array."""
    quotients = divide_logits(logits, temperature)
    found = np.empty_like(quotients)
    softmax(quotients, found, get_num_threads())
    return found


def check_temperature(value: Any) -> float:
    """`value` as a temperature; TypeError or ValueError when it is none."""
    temperature = real_number(value, "temperature", 0.0)
    if temperature == 0:
        raise ValueError("temperature is 0; expected a number above 0, 1 changes nothing")
    return temperature


def negative_log_likelihood(labels: Any, probabilities: Any) -> float:
    """Mean of −log p[label]: the cross-entropy. A probability of 0 counts as 2·10⁻³⁰⁸.

    Raises
    ------
    TypeError, ValueError
        When the arguments do not fit each other, or are no probabilities.
    """
    p, y = _checked(probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(p)), y], SMALLEST)).mean())


def brier_score(labels: Any, probabilities: Any) -> float:
    """Mean squared distance between the probabilities and 1 for the label, 0 for the others.

    From 0 to 2, as Brier defined it for several classes; for two it is twice of what libraries
    call the Brier score of a binary classifier. Raises as `negative_log_likelihood`.

    Source: Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    p, y = _checked(probabilities, labels)
    target = np.zeros_like(p)
    target[np.arange(len(p)), y] = 1
    return float(((p - target) ** 2).sum(axis=1).mean())


def reliability(labels: Any, probabilities: Any, bins: int = BINS) -> Reliability:
    """How often the answers are right, for each range of confidence.

    A sample's answer is its most likely class, of equals the first; its confidence is that
    class's probability. Bin m holds the confidences in (m/B, (m+1)/B]. Raises as
    `negative_log_likelihood`.

    Source: Guo et al. (2017), section 2.
    """
    bins = whole_number(bins, "bins", maximum=10_000)
    p, y = _checked(probabilities, labels)
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == y
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    divisor = np.maximum(count, 1)
    return Reliability(
        confidence=np.bincount(place, confidence, bins) / divisor,
        accuracy=np.bincount(place, right, bins) / divisor,
        count=count.astype(np.int64, copy=False),
    )


def expected_calibration_error(labels: Any, probabilities: Any, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over the bins of `reliability`, from 0 to 1.

    Each bin weighs as much as it holds samples. Raises as `negative_log_likelihood`.

    Source: Guo et al. (2017), equation 3.
    """
    found = reliability(labels, probabilities, bins)
    distance = np.abs(found.confidence - found.accuracy)
    return float((distance * found.count).sum() / found.count.sum())


def _slope(z: Floats, y: NDArray[np.int64], beta: float) -> tuple[float, float]:
    """First and second derivative of the mean negative log-likelihood at β = `beta`."""
    p = np.exp(beta * z)  # the largest z of a row is 0
    p /= p.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    spread = (p * z * z).sum(axis=1) - mean * mean
    return float((mean - z[np.arange(len(z)), y]).mean()), float(spread.mean())


def _rows(values: Any, name: str) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        raise TypeError(f"the {name} have dtype {array.dtype}; expected floats")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"the {name} have shape {array.shape}; expected (N, K), not empty")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array)).any(axis=1).argmax())
        raise ValueError(f"the {name} of sample {row} are not all finite numbers")
    return array


def _pair(values: Any, labels: Any, name: str) -> tuple[Floats, NDArray[np.int64]]:
    rows = _rows(values, name)
    y = as_labels(labels, len(rows))
    wrong = (y < 0) | (y >= rows.shape[1])
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"label {place} is {y[place]}; expected 0 to {rows.shape[1] - 1}")
    return rows, y


def _checked(values: Any, labels: Any) -> tuple[Floats, NDArray[np.int64]]:
    p, y = _pair(values, labels, "probabilities")
    off = (p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > ROUNDING)
    if off.any():
        row = int(off.argmax())
        raise ValueError(
            f"the probabilities of sample {row} are negative or add up to {p[row].sum():.6g}, not "
            "to 1; probabilities(logits) makes them from logits"
        )
    return p, y
