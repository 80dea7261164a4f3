"""The arrays that users hand to a training step, as the step can read them.

What already is of a kind that a run reads where it lies is looked at and passed on, in a fraction
of a microsecond; everything else goes through `minicnn/arrays.py`.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t

from ..arrays import as_float32, as_indices, as_labels

cnp.import_array()


cdef bint is_images(x):
    """Whether a step can read them where they are: float32 or uint8, C-contiguous."""
    return is_plain(x) and cnp.PyArray_TYPE(x) in (cnp.NPY_FLOAT32, cnp.NPY_UINT8)


cdef cnp.ndarray as_images(x):
    return x if is_images(x) else as_float32(x)


cdef const int64_t[::1] checked_indices(indices, Py_ssize_t count):
    """What `as_indices` returns, in less time where there is nothing to convert."""
    cdef const int64_t[::1] chosen
    cdef Py_ssize_t n
    if is_plain(indices) and cnp.PyArray_TYPE(indices) == cnp.NPY_INT64 \
            and cnp.PyArray_NDIM(indices) == 1:
        chosen = indices
        for n in range(chosen.shape[0]):
            if not 0 <= chosen[n] < count:
                break
        else:
            return chosen
    return as_indices(indices, count)


cdef cnp.ndarray as_numbers(y):
    """int64, int32 or uint8, C-contiguous; None where they are not one number for each sample."""
    if not is_numbers(y):
        y = np.asarray(y)
        return as_labels(y) if y.ndim == 1 else None
    return y if cnp.PyArray_NDIM(y) == 1 else None


cdef bint is_numbers(y):
    return is_plain(y) \
        and cnp.PyArray_TYPE(y) in (cnp.NPY_INT64, cnp.NPY_INT32, cnp.NPY_UINT8)


cdef bint is_plain(array):
    """Whether it can be taken as it is, if its numbers are of a known type."""
    return cnp.PyArray_CheckExact(array) and cnp.PyArray_ISCARRAY_RO(array)
