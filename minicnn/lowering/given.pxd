"""What `step.pyx` needs of `given.pyx`."""

cimport numpy as cnp
from libc.stdint cimport int64_t


cdef bint is_images(x)
cdef cnp.ndarray as_images(x)
cdef bint is_numbers(y)
cdef cnp.ndarray as_numbers(y)
cdef const int64_t[::1] checked_indices(indices, Py_ssize_t count)
