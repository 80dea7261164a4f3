"""What `step.pyx` needs of `watched.pyx`."""

from libc.stdint cimport int64_t


cdef class Watched:
    cdef list dicts, names, values, lists, members, parameters, arrays, gradients
    cdef add(self, dict where, names)
    cdef bint unchanged(self) except -1


cdef class Statistics:
    cdef float[::1] mean, variance, mean_before, variance_before
    cdef int64_t[::1] batches
    cdef keep(self)
    cdef put_back(self)
