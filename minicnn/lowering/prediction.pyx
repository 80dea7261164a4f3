"""Answers of a model as one native call for some samples at a time.

A `Prediction` is prepared once for a model and a shape of batch; a call then looks whether the
model still is what it was, takes the images where they are, and runs. It is the counterpart of
`step.pyx` for answers: for a small net, what Python does around a run takes longer than the run.
"""

from time import monotonic

cimport numpy as cnp

from minicnn.engine.plan cimport Plan
from minicnn.lowering.watched cimport Watched

from ..arrays import as_float32
from ..engine import engine_enabled, winograd_enabled
from ..layers import BatchNorm1d, BatchNorm2d
from ..threads import get_num_threads

AWAKE = 40e-6                           # seconds that threads stay awake for certain (csrc/team.c)
cdef double BRIEF = 2.0 ** 17           # multiply-adds of a run that need not let others in
cdef enum:
    MOST_DIMENSIONS = 4                 # of an answer: (N, C, H, W)
cnp.import_array()


cdef class Prediction:
    """What a model answers for batches of one shape.

    Parameters
    ----------
    chains, layers : lists of Chain and Layer
        The model and its inner chains; its leaves.
    parameters : list of Parameter
        All of the model's.
    passes : Passes
        Of that model in prediction, for such a batch.
    shape : tuple
        Of a batch.
    lock : threading.Lock
        Held during a run.
    """

    cdef Plan plan
    cdef Watched watched
    cdef object passes, acquire, release
    cdef tuple shape, output_shape
    cdef list batchnorms                # (operation's index, layer)
    cdef Py_ssize_t input_size, output_size
    cdef bint shared, shared_in_a_row, brief, winograd
    cdef int threads
    cdef readonly int used              # threads of the last run
    cdef double ended                   # when the last run did

    def __init__(self, chains, layers, parameters, passes, shape, lock):
        self.passes, self.plan, self.shape = passes, passes.plan, shape
        self.output_shape = (shape[0], *passes.output_shape)
        self.shared = passes.is_worth_sharing(shape[0])
        self.shared_in_a_row = passes.is_worth_sharing_in_a_row(shape[0])
        self.brief = passes.multiply_adds * <double>shape[0] < BRIEF and not self.shared
        self.winograd, self.threads = winograd_enabled(), get_num_threads()
        self.watched = Watched(chains, layers, parameters, training=False)
        self.acquire, self.release = lock.acquire, lock.release
        self.batchnorms = [
            (i, layer) for i, layer in passes.varying
            if isinstance(layer, (BatchNorm1d, BatchNorm2d))
        ]
        self.input_size, self.output_size = self.plan.input_size, self.plan.output_size

    def serves(self):
        """Whether the model, as it is now, still answers like this."""
        return engine_enabled() and winograd_enabled() == self.winograd \
            and (self.brief or get_num_threads() == self.threads) and self.watched.unchanged()

    def run(self, x):
        """The last layer's output for every sample.

        Parameters
        ----------
        x : (N, …) array of the shape it was prepared for
            float32 is read where it is; what has to be converted is, some samples at a time.

        Returns
        -------
        (N, …) float32, a new array

        Raises
        ------
        TypeError
            What `as_float32` raises.
        """
        cdef cnp.ndarray y, images = x
        if cnp.PyArray_TYPE(images) != cnp.NPY_FLOAT32 or not cnp.PyArray_ISCARRAY_RO(images):
            return self.run_converted(x)
        y = self.empty()
        self.run_part(images, <float*>cnp.PyArray_DATA(y), self.shape[0])
        return y

    cdef cnp.ndarray empty(self):
        """Room for the answer."""
        cdef cnp.npy_intp shape[MOST_DIMENSIONS]
        cdef Py_ssize_t i, count = len(self.output_shape)
        for i in range(count):
            shape[i] = self.output_shape[i]
        return cnp.PyArray_EMPTY(<int>count, shape, cnp.NPY_FLOAT32, False)

    cdef run_converted(self, x):
        """The same for other types and layouts of arrays."""
        cdef Py_ssize_t first, count, batch = self.shape[0]
        cdef Py_ssize_t chunk = self.passes.chunk()
        cdef cnp.ndarray y = self.empty()
        for first in range(0, batch, chunk):
            count = min(chunk, batch - first)
            part = as_float32(x[first:first + count])
            if not part.flags.aligned:
                part = part.copy()
            self.run_part(part, <float*>cnp.PyArray_DATA(y) + first * self.output_size, count)
        return y

    cdef run_part(self, cnp.ndarray x, float* y, Py_ssize_t count):
        """`count` samples, C-contiguous float32."""
        self.acquire()
        try:
            for index, layer in self.batchnorms:
                self.plan.set_batchnorm(index, layer.momentum, layer.eps)
            self.run_locked(<const float*>cnp.PyArray_DATA(x), y, count)
        finally:
            self.release()

    cdef run_locked(self, const float* x, float* y, Py_ssize_t batch):
        cdef Py_ssize_t first, chunk
        self.used = 1
        if self.brief:
            self.plan.answer(x, y, batch, 1, True)
            return
        chunk = self.passes.chunk()
        if self.shared or (self.shared_in_a_row and monotonic() - self.ended < AWAKE):
            self.used = self.threads
        for first in range(0, batch, chunk):
            self.plan.answer(x + first * self.input_size, y + first * self.output_size,
                             min(chunk, batch - first), self.used, False)
        if self.shared_in_a_row:
            self.ended = monotonic()
