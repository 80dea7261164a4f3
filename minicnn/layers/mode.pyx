"""Where layers only infer, as a context that a signal cannot leave half entered.

A handler may raise KeyboardInterrupt between any two lines of Python, so also after `__enter__`
has set a flag and before anybody is bound to take it back. Compiled code has no such moments.
"""

from contextvars import ContextVar

from cpython.contextvars cimport get_value

_in_inference = ContextVar("minicnn_inference", default=False)


cpdef bint in_inference() except -1:
    """Whether the caller runs inside `inference()`, where nothing need be remembered."""
    return get_value(_in_inference)


cdef class inference:
    """Inside: layers behave as in `eval` mode and remember nothing for a backward pass.

    It holds for the current thread (or async task) only, so that several threads can predict
    with one model while its mode stays what it was.
    """

    cdef list tokens

    def __cinit__(self):
        self.tokens = []

    def __enter__(self):
        self.tokens.append(_in_inference.set(True))

    def __exit__(self, *details):
        _in_inference.reset(self.tokens.pop())
