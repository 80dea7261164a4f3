"""What a prepared step depends on, and may find changed or have to put back."""

import numpy as np

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memcpy

from .nodes import ATTRIBUTES


cdef class Watched:
    """The objects that a plan was made of: whether they still are what they were.

    Parameters
    ----------
    chains : list of Chain
        The model and the chains inside it.
    layers : list of Layer
        Their leaves.
    parameters : list of Parameter
    training : bool
        False where neither gradients nor the mode of layers matter.
    """

    def __init__(self, chains, layers, parameters, training=True):
        self.dicts, self.names, self.values = [], [], []
        for chain in chains:
            self.add(vars(chain), ("layers", "_values", "_gradients")[:3 if training else 2])
        for layer in layers:
            self.add(layer.buffers(), list(layer.buffers()))    # makes them, at the first call
            names = ATTRIBUTES.get(type(layer), ())
            self.add(vars(layer), [name for name in names if training or name != "_training"])
        self.lists = [chain.layers for chain in chains]
        self.members = [list(chain.layers) for chain in chains]
        self.parameters = list(parameters)
        self.arrays = [p.data for p in parameters]
        self.gradients = [p.grad for p in parameters] if training else []

    cdef add(self, dict where, names):
        for name in names:
            self.dicts.append(where)
            self.names.append(name)
            self.values.append(where[name])

    cdef bint unchanged(self) except -1:
        """Whether all attributes, members and arrays are the same objects as before."""
        cdef Py_ssize_t i, j
        cdef list now, before
        for i in range(len(self.dicts)):
            if PyDict_GetItem(self.dicts[i], self.names[i]) != <PyObject*>self.values[i]:
                return False
        for i in range(len(self.lists)):
            now, before = self.lists[i], self.members[i]
            if len(now) != len(before):
                return False
            for j in range(len(before)):
                if now[j] is not before[j]:
                    return False
        for i in range(len(self.parameters)):
            p = self.parameters[i]
            if p.data is not self.arrays[i]:
                return False
        for i in range(len(self.gradients)):
            if self.parameters[i].grad is not self.gradients[i]:
                return False
        return True


cdef class Statistics:
    """Those of a BatchNorm, and what they were before the step."""

    def __init__(self, layer):
        self.mean, self.variance = layer.running_mean, layer.running_var
        self.batches = layer.num_batches_tracked.reshape(1)
        self.mean_before = np.empty_like(layer.running_mean)
        self.variance_before = np.empty_like(layer.running_var)

    cdef keep(self):
        copy_floats(self.mean_before, self.mean)
        copy_floats(self.variance_before, self.variance)

    cdef put_back(self):
        copy_floats(self.mean, self.mean_before)
        copy_floats(self.variance, self.variance_before)


cdef void copy_floats(float[::1] target, const float[::1] source) noexcept:
    memcpy(&target[0], &source[0], source.shape[0] * sizeof(float))
