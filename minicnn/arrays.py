"""The one place that decides which arrays are accepted, and as what."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_float32(x: Any) -> NDArray[np.float32]:
    """`x` as a C-contiguous float32 array; itself, not a copy, when it is one already.

    Other float types are converted, uint8 (images) is scaled to 0…1.

    Raises
    ------
    TypeError
        For every other type: whether integers should be scaled is not ours to guess.
    """
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return np.divide(x, 255, dtype=np.float32, order="C")
    if x.dtype.kind != "f":
        raise TypeError(
            f"the array has dtype {x.dtype}; expected float32 (other floats are converted) or "
            "uint8 (scaled to 0…1); convert it with x.astype('float32')"
        )
    return np.ascontiguousarray(x, dtype=np.float32).reshape(x.shape)


def as_labels(y: Any, count: int | None = None) -> NDArray[np.int64]:
    """Class indices as a C-contiguous int64 array of shape (N,).

    Raises
    ------
    TypeError
        When `y` does not hold integers.
    ValueError
        When its rank is not 1, or its length is not `count`.
    """
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"the labels have dtype {y.dtype}; expected integers, the index of each sample's class"
        )
    if y.ndim != 1:
        raise ValueError(
            f"the labels have shape {y.shape}; expected (N,), one class index a sample; "
            "for one-hot rows use y.argmax(axis=1)"
        )
    if count is not None and len(y) != count:
        raise ValueError(f"there are {len(y)} labels for {count} samples; expected one each")
    if y.dtype == np.uint64 and len(y) and int(y.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"the labels reach {int(y.max())}; expected indices below the class count")
    return np.ascontiguousarray(y, dtype=np.int64)
