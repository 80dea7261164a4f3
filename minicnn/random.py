"""Random numbers as a function of where they are used: no generator, no hidden state.

Every function takes a seed and a *stream*: up to three integers that name a place, such as
`(SHUFFLE, epoch)` or `(INIT, layer, parameter)`. The same seed and stream give the same numbers
on every machine, in every order of calls and for any number of threads; two different streams
are independent of each other.

The bits come from Philox4x64-10, a counter-based generator: a bijection of a 256-bit counter
under a 128-bit key. Of NumPy only the raw bits are used, because its conversions to floats may
change between versions. The conversions below use nothing but additions, multiplications,
divisions and square roots, which IEEE 754 rounds alike everywhere; `log` and `cos` of a math
library differ in the last bit from machine to machine.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

import math
import operator
from collections.abc import Iterable
from typing import Final, SupportsIndex

import numpy as np
import numpy.typing as npt

__all__ = [
    "AUGMENT", "EXPLAIN", "INIT", "SHUFFLE", "SPLIT", "bits", "normal", "permutation", "uniform",
]  # fmt: skip

# What a stream is for; by convention the first number of every stream.
INIT: Final = 1
SHUFFLE: Final = 2
SPLIT: Final = 3
AUGMENT: Final = 4
EXPLAIN: Final = 5

Shape = SupportsIndex | Iterable[SupportsIndex]


def bits(n: SupportsIndex, seed: SupportsIndex, *stream: SupportsIndex) -> npt.NDArray[np.uint64]:
    """`n` random 64-bit words.

    Parameters
    ----------
    n : int
        How many words. A longer draw from the same stream begins with the shorter one.
    seed : int
        0 <= seed < 2**64.
    *stream : int
        Up to three integers in the same range. `(1,)` and `(1, 0)` are different streams.

    Returns
    -------
    (n,) uint64 array

    Raises
    ------
    TypeError
        A float, a string or None where an integer belongs.
    ValueError
        A number out of range, or more than three stream numbers.
    """
    from numpy.random import Philox  # here, because importing it costs a third of `import numpy`

    count = _integer(n, "n", stop=2**63)
    if len(stream) > 3:
        raise ValueError(f"a stream is up to three integers, got {len(stream)}: {stream}")
    words = [_integer(word, "each stream number") for word in stream]
    # Word 0 of the counter is left at zero for Philox to count blocks. The length is in the key
    # so that the zeros that fill a short stream do not make it equal to a longer one.
    counter = np.array([0, *words, *[0] * (3 - len(words))], np.uint64)
    key = np.array([_integer(seed, "seed"), len(words)], np.uint64)
    return np.asarray(Philox(counter=counter, key=key).random_raw(count), np.uint64)


def uniform(
    shape: Shape,
    seed: SupportsIndex,
    *stream: SupportsIndex,
    low: float = 0.0,
    high: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Uniform numbers: low + (high - low) u, where u is a multiple of 2**-24 in [0, 1).

    Parameters
    ----------
    shape : int or tuple of int
    seed, *stream : int
        As in `bits`.
    low, high : float
        Finite, low <= high. `high` itself appears only where rounding to float32 reaches it.

    Returns
    -------
    float32 array of the shape, C-contiguous

    Raises
    ------
    TypeError, ValueError
        As `bits`; ValueError also for a negative shape and for bounds that are not finite or
        in the wrong order.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"low and high must be finite with low <= high, got {low} and {high}")
    sizes = _sizes(shape)
    u = _unit(bits(math.prod(sizes), seed, *stream), 24)
    return (low + (high - low) * u).astype(np.float32).reshape(sizes)


def normal(shape: Shape, seed: SupportsIndex, *stream: SupportsIndex) -> npt.NDArray[np.float32]:
    """Standard normal numbers (mean 0, variance 1), by the transform of Box and Muller.

    Two words give two numbers: r cos a and r sin a with r = sqrt(-2 log u) and a uniform angle.
    The largest possible magnitude is sqrt(2 log 2**53) = 8.57.

    Parameters
    ----------
    shape : int or tuple of int
    seed, *stream : int
        As in `bits`.

    Returns
    -------
    float32 array of the shape, C-contiguous

    Raises
    ------
    TypeError, ValueError
        As `bits`; ValueError also for a negative shape.

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    sizes = _sizes(shape)
    n = math.prod(sizes)
    words = bits(n + n % 2, seed, *stream).reshape(-1, 2)
    radius = np.sqrt(-2.0 * _log(1.0 - _unit(words[:, 0], 53)))  # 1 - u > 0: its log is finite
    # The angle: an eighth of a turn to either side of the x axis, then one of four quarter turns.
    eighth = (_unit(words[:, 1], 53) - 0.5) * (math.pi / 2)
    cos, sin = _cos_sin(eighth)
    radius *= 1.0 - 2.0 * (words[:, 1] & np.uint64(1))
    swap = (words[:, 1] & np.uint64(2)) != 0
    pairs = np.empty(words.shape, np.float32)
    pairs[:, 0] = radius * np.where(swap, sin, cos)
    pairs[:, 1] = radius * np.where(swap, cos, sin)
    return pairs.ravel()[:n].reshape(sizes)


def permutation(
    n: SupportsIndex, seed: SupportsIndex, *stream: SupportsIndex
) -> npt.NDArray[np.int64]:
    """A random order of 0 ... n-1: the order that sorts `n` random words.

    Parameters
    ----------
    n : int
    seed, *stream : int
        As in `bits`.

    Returns
    -------
    (n,) int64 array

    Raises
    ------
    TypeError, ValueError
        As `bits`.
    """
    # Stable, so that the order is defined even where two words are equal.
    return np.argsort(bits(n, seed, *stream), kind="stable").astype(np.int64, copy=False)


def _unit(words: npt.NDArray[np.uint64], digits: int) -> npt.NDArray[np.float64]:
    """The leading `digits` (at most 53) bits of each word as an exact fraction in [0, 1)."""
    return (words >> np.uint64(64 - digits)).astype(np.float64) * 2.0**-digits


def _log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Natural logarithm of positive numbers, error below 1e-12 relative to max(1, |log x|).

    With x = m 2**e and m in [sqrt(1/2), sqrt(2)): log m = 2 (s + s**3/3 + s**5/5 + ...),
    s = (m - 1) / (m + 1), where |s| <= 0.1716.
    """
    mantissa, exponent = np.frexp(x)
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = _polynomial(s * s, [1 / k for k in range(1, 18, 2)])
    return (exponent - low) * math.log(2) + 2.0 * s * series


def _cos_sin(
    a: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cosine and sine for |a| <= pi/4 by their Taylor series, error below 1e-12."""
    square = a * a
    cos = _polynomial(square, [(-1) ** k / math.factorial(2 * k) for k in range(8)])
    sin = a * _polynomial(square, [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)])
    return cos, sin


def _polynomial(x: npt.NDArray[np.float64], coefficients: list[float]) -> npt.NDArray[np.float64]:
    """c[0] + c[1] x + c[2] x**2 + ... by Horner's rule."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


def _integer(value: SupportsIndex, name: str, stop: int = 2**64) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not 0 <= number < stop:
        raise ValueError(f"{name} must be in 0 ... 2**{stop.bit_length() - 1} - 1, got {number}")
    return number


def _sizes(shape: Shape) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, Iterable) else (shape,)
    return tuple(_integer(size, "each size of the shape", stop=2**63) for size in sizes)
