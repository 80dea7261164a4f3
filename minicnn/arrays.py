"""The one place that decides which arrays are accepted, and as what."""

from typing import Any

import numpy as np
import numpy.typing as npt

SHARES_TOLERANCE = 1e-3  # of the sum of a row of shares


def as_float32(x: Any) -> npt.NDArray[np.float32]:
    """Any array as a C-contiguous float32 array.

    uint8 is divided by 255 (correctly rounded, so 255 becomes 1.0); other floats are rounded
    to float32 and not scaled.

    Returns
    -------
    float32 array of the same shape
        `x` itself where it is one already, otherwise a new array.

    Raises
    ------
    TypeError
        Any other dtype: whether and how to scale integers is not ours to guess.
    """
    x = np.asarray(x)
    check_dtype(x)
    if x.dtype == np.uint8:
        scaled: npt.NDArray[np.float32] = np.divide(x, np.float32(255), dtype=np.float32, order="C")
        return scaled
    return np.asarray(x, np.float32, order="C")


def zeros_on_line(count: int) -> npt.NDArray[np.float32]:
    """`count` float32 zeros that begin with a cache line, so that no vector lies on two."""
    block = np.zeros(count + 16, np.float32)
    first = -block.ctypes.data % 64 // 4
    return block[first : first + count]


def check_dtype(x: npt.NDArray[Any]) -> None:
    """Raise the TypeError of `as_float32`, without converting anything."""
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise TypeError(
            f"images must be uint8 (0 ... 255) or float (used as it is), got {x.dtype}; "
            "convert with x.astype(np.uint8) or x.astype(np.float32), scaled as you need it"
        )


def check_images(x: npt.NDArray[Any]) -> None:
    """Raise what `as_float32` would, or a ValueError where there is no batch axis."""
    check_dtype(x)
    if x.ndim < 2:
        raise ValueError(
            f"images need a batch axis and at least one more, got shape {x.shape}; "
            "for a single image use x[np.newaxis]"
        )


def as_labels(y: Any, n: int | None = None) -> npt.NDArray[np.int64]:
    """Class numbers as a C-contiguous int64 array.

    Parameters
    ----------
    y : (N,) array of integers of any width and byte order, or of bool (False 0, True 1)
    n : int, optional
        The length that `y` must have.

    Returns
    -------
    (N,) int64 array
        `y` itself where it is one already, otherwise a new array.

    Raises
    ------
    TypeError
        Floats, strings and other types.
    ValueError
        A wrong rank or length, or a number beyond int64.
    """
    y = np.asarray(y)
    if y.ndim != 1:
        hint = f"; {_rank_hint(y)}" if y.ndim == 2 else ""
        raise ValueError(f"labels must be one class number a sample, got shape {y.shape}{hint}")
    if y.dtype.kind not in "iub" and y.size:
        raise TypeError(f"labels must be integers, got {y.dtype}; {_type_hint(y)}")
    if n is not None and len(y) != n:
        raise ValueError(f"labels must be as many as the samples, got {len(y)} for {n} samples")
    if y.dtype.kind == "u" and y.size and int(y.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"labels must fit int64, got {y.max()}")
    return np.ascontiguousarray(y, np.int64)


def as_indices(indices: Any, count: int) -> npt.NDArray[np.int64]:
    """Which of `count` samples are meant, as a C-contiguous int64 array.

    Parameters
    ----------
    indices : (n,) array of integers in 0 … count - 1, n at least 1

    Raises
    ------
    TypeError
        Other types, such as bool: a mask says it in another way.
    ValueError
        A wrong rank, none at all, or an index out of range.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or not indices.size:
        raise ValueError(f"indices must be one or more numbers, got shape {indices.shape}")
    if indices.dtype.kind not in "iu":
        raise TypeError(
            f"indices must be integers, got {indices.dtype}; turn a mask into them with "
            "np.flatnonzero(mask)"
        )
    outside = (indices < 0) | (indices >= count)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"indices[{first}] is {indices[first]}; with {count} samples it must lie in "
            f"0..{count - 1}"
        )
    return np.ascontiguousarray(indices, np.int64)


def gather(x: npt.NDArray[Any], chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """`x[chosen]`. `take` is faster where `x` lies as it wants it, and else copies all of `x`."""
    if x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative:
        return x.take(chosen, axis=0)
    gathered: npt.NDArray[Any] = x[chosen]
    return gathered


def choose(x: npt.NDArray[Any], y: Any, indices: Any) -> tuple[npt.NDArray[Any], Any]:
    """x[indices] and y[indices]; raises what `as_indices` does, and where x and y do not match."""
    y, indices = np.asarray(y), as_indices(indices, len(x))
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"labels must be as many as the samples, got shape {y.shape} for {len(x)} samples; "
            "the indices choose among both"
        )
    return gather(x, indices), gather(y, indices)


def as_targets(y: Any, n: int) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    """What a loss compares n samples with: class numbers, or shares of all classes.

    Parameters
    ----------
    y : (n,) integers, or (n, K) float array
        Each row of the latter lies in 0 … 1 and adds up to 1, within 1e-3.

    Returns
    -------
    (n,) int64 or (n, K) float32 array
        `y` itself where it is one already, otherwise a new array.

    Raises
    ------
    TypeError, ValueError
        As `as_labels`, and for rows that are no shares.
    """
    y = np.asarray(y)
    if y.ndim != 2 or y.dtype.kind != "f" or y.shape[1] < 2:
        return as_labels(y, n)
    if len(y) != n:
        raise ValueError(f"targets must be as many as the samples, got {len(y)} for {n} samples")
    shares = np.asarray(y, np.float32, order="C")
    sums = shares.sum(axis=1)
    # Written so that a NaN fails.
    if not ((shares >= 0).all() and (np.abs(sums - 1) <= SHARES_TOLERANCE).all()):
        raise ValueError(
            "targets must be shares of the classes, at least 0 and adding up to 1, got rows with "
            f"sums of {sums.min():g} … {sums.max():g} and values of {shares.min():g} … "
            f"{shares.max():g}; divide each row by its sum"
        )
    return shares


def class_numbers(targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The labels (n,) that targets from `as_targets` stand for: of shares the largest's."""
    return targets if targets.ndim == 1 else np.asarray(targets.argmax(axis=1), np.int64)


def _rank_hint(y: npt.NDArray[np.generic]) -> str:
    if y.shape[1] == 1:
        return "use y.ravel()"
    return "for one-hot rows use y.argmax(axis=1)"


def _type_hint(y: npt.NDArray[np.generic]) -> str:
    if y.dtype.kind == "f":
        return "use y.astype(np.int64) if they are whole numbers"
    return "number the classes with np.unique(y, return_inverse=True)[1]"
