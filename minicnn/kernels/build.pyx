"""How the kernels were compiled."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #define MINICNN_OPENMP 1
    #else
    #define MINICNN_OPENMP 0
    #endif
    """
    const int MINICNN_OPENMP


def has_openmp():
    """Whether kernels can use more than one thread."""
    return MINICNN_OPENMP != 0
