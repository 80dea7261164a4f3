"""One step of training as one native call: forward, loss, backward, clipping, update.

A `TrainingStep` is prepared once for a model, an optimizer and a shape of batch. Everything that
a step reads of Python objects (the layers' settings, the rates, the labels) it reads here, in a
few microseconds, and a run then happens without the interpreter. What it does not cover it leaves
to `Sequential`, by returning None before anything has moved.
"""

import numpy as np

cimport numpy as cnp
from cpython.dict cimport PyDict_GetItem
from libc.math cimport INFINITY, isfinite, pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t

from minicnn.engine.plan cimport ADAM, SGD, Plan, c_training
from minicnn.layers.mode cimport in_inference
from minicnn.lowering.given cimport as_images, as_numbers, checked_indices, is_images, is_numbers
from minicnn.lowering.watched cimport Statistics, Watched

from ..arrays import choose, zeros_on_line
from ..engine import LANES, engine_enabled, winograd_enabled
from ..layers import BatchNorm1d, BatchNorm2d, Dropout
from ..losses import CrossEntropyLoss
from ..optim import Adam, AdamW
from ..optim import SGD as PlainSGD
from ..threads import get_num_threads

LOSS = "rows_cross_entropy"             # the kernel of a stage whose items depend on the batch
RULES = {PlainSGD: SGD, Adam: ADAM, AdamW: ADAM}
cnp.import_array()


cdef class TrainingStep:
    """The step of one model with one optimizer on batches of one shape.

    Parameters
    ----------
    chains, layers : lists of Chain and Layer
        The model and its inner chains; its leaves.
    passes : Passes
        Of that model in training, for such a batch.
    optimizer : SGD, Adam or AdamW
        It moves exactly the model's parameters: its one segment is the model's two blocks.
    shape : tuple
        Of a batch.
    lock : threading.Lock
        Held during a step.
    """

    cdef readonly Plan plan
    cdef c_training now
    cdef Watched watched
    cdef object optimizer, acquire, release
    cdef tuple shape
    cdef bint shared, winograd          # shared: the work is enough for several threads
    cdef list dropouts, batchnorms, statistics      # (operation's index, layer); of BatchNorm
    cdef int64_t[::1] labels
    cdef float[:, ::1] logits, dlogits
    cdef double[::1] squares, sums, of_log, rest
    cdef Py_ssize_t[:, ::1] blocks
    cdef Py_ssize_t loss_stage, loss_items      # of rows_cross_entropy; -1: there is none
    cdef uint8_t[::1] right
    cdef float[::1] gathered, values, gradients, class_weights
    cdef object class_weight            # as last seen
    cdef list state                     # the optimizer's arrays as last seen, and where they are
    cdef float* addresses[2]

    def __init__(self, chains, layers, passes, optimizer, shape, lock):
        cdef Py_ssize_t batch = shape[0], classes = passes.output_shape[0]
        self.plan, self.optimizer, self.shape = passes.plan, optimizer, shape
        self.shared = passes.is_worth_sharing(batch)
        self.winograd = winograd_enabled()
        self.watched = Watched(chains, layers, optimizer.parameters)
        self.acquire, self.release = lock.acquire, lock.release
        self.dropouts = [(i, layer) for i, layer in passes.varying if isinstance(layer, Dropout)]
        norms = (BatchNorm1d, BatchNorm2d)
        self.batchnorms = [(i, layer) for i, layer in passes.varying if isinstance(layer, norms)]
        self.statistics = [Statistics(layer) for _, layer in self.batchnorms if layer.training]
        self.labels = np.empty(batch, np.int64)
        self.logits, self.dlogits = np.empty((2, batch, classes), np.float32)
        self.sums, self.right = np.ones(batch + 16), np.empty(batch, np.uint8)
        self.of_log, self.rest = np.zeros((2, batch + 16))
        self.values, self.gradients = optimizer.segments[0].data, optimizer.segments[0].grad
        self.blocks = np.array(passes.lowered.blocks, np.intp)
        self.squares = np.empty(self.blocks.shape[0])
        self.state = [None, None]
        self.now.rule = RULES[type(optimizer)]
        names = [calls[0].split("[")[0] for calls in self.plan.step_stages.names]
        self.loss_stage = names.index(LOSS) if LOSS in names else -1
        self.loss_items = -(-batch // LANES)
        self.point()

    cdef point(self):
        """Addresses of what stays the same for all steps."""
        self.now.classes = self.logits.shape[1]
        self.now.labels, self.now.dlogits = &self.labels[0], &self.dlogits[0, 0]
        self.now.sums, self.now.of_log = &self.sums[0], &self.of_log[0]
        self.now.rest = &self.rest[0]
        self.now.squares, self.now.right = &self.squares[0], &self.right[0]
        self.now.size, self.now.block_count = self.values.shape[0], self.blocks.shape[0]
        self.now.blocks = <const Py_ssize_t (*)[2]>&self.blocks[0, 0]
        self.now.values, self.now.gradients = &self.values[0], &self.gradients[0]

    cpdef bint serves(self, optimizer) except -1:
        """Whether this still is the step of the model, as it is now, with that optimizer."""
        return optimizer is self.optimizer and self.watched.unchanged() \
            and winograd_enabled() == self.winograd and not is_overridden(optimizer)

    cpdef run(self, x, y, loss_fn, clip_norm, indices=None):
        """Make the step.

        Parameters
        ----------
        x : (N, …) float32, or uint8
        y : (N,) integers
        loss_fn : Loss
        clip_norm : float or None
        indices : (batch,) integers or None
            The samples of the batch among x and y, of which there may be more.

        Returns
        -------
        (loss, number of correct samples), or None when the step is not one for the engine.

        Raises
        ------
        TypeError, ValueError
            What `as_float32`, `as_labels` and `as_indices` raise, or a label is out of range.
        """
        self.acquire()
        try:
            return self.run_locked(x, y, loss_fn, clip_norm, indices)
        finally:
            self.now.bytes, self.now.chosen = NULL, NULL
            self.plan.run.step = NULL
            self.release()

    cdef run_locked(self, x, y, loss_fn, clip_norm, indices):
        cdef cnp.ndarray images, labels
        cdef const int64_t[::1] chosen
        if in_inference() or not engine_enabled() or not self.take_loss(loss_fn) \
                or not self.take_clipping(clip_norm) or not self.take_rates():
            return None
        if indices is not None and not (is_images(x) and is_numbers(y)):
            (x, y), indices = choose(x, y, indices), None
        if indices is not None:
            chosen = checked_indices(indices, len(x))
            if chosen.shape[0] != self.labels.shape[0]:
                return None
            self.now.chosen = &chosen[0]
        images, labels = as_images(x), as_numbers(y)
        if labels is None or not self.take_images(images) \
                or not self.take_labels(labels, cnp.PyArray_DIM(images, 0)):
            return None
        return self.make()

    # --- what a step takes from its arguments: False where it leaves them to the layers -----------

    cdef bint take_loss(self, loss_fn) except -1:
        if type(loss_fn) is not CrossEntropyLoss:
            return False
        weight = loss_fn.weight
        if weight is not self.class_weight:
            if weight is not None and weight.shape != (self.now.classes,):
                return False
            self.class_weight = weight
            if weight is not None:
                self.class_weights = np.ascontiguousarray(weight, np.float32)
        self.now.class_weight = NULL if weight is None else &self.class_weights[0]
        self.now.ignore_index, self.now.smoothing = loss_fn.ignore_index, loss_fn.label_smoothing
        if not 0.0 <= self.now.smoothing <= 1.0:
            return False
        loss_fn._saved = None               # what it remembers is not of this step
        return True

    cdef bint take_clipping(self, clip_norm) except -1:
        self.now.factor, self.now.max_norm = 1.0, INFINITY
        if clip_norm is not None:
            if type(clip_norm) is not float and type(clip_norm) is not int:
                return False
            self.now.max_norm = clip_norm
        return self.now.max_norm >= 0.0

    cdef bint take_rates(self) except -1:
        optimizer, now = self.optimizer, &self.now
        now.lr, now.weight_decay = optimizer.lr, optimizer.weight_decay
        if now.rule == SGD:
            now.momentum, now.undamped = optimizer.momentum, 1.0 - <double>optimizer.dampening
            now.nesterov = optimizer.nesterov
            return not now.nesterov or (now.momentum > 0.0 and now.undamped == 1.0)
        now.beta1, now.beta2 = optimizer.betas
        now.eps, now.decoupled = optimizer.eps, optimizer.decoupled
        cdef double t = optimizer.steps + 1
        now.root1, now.root2 = 1.0 - pow(now.beta1, t), sqrt(1.0 - pow(now.beta2, t))
        return 0.0 <= now.beta1 < 1.0 and 0.0 <= now.beta2 < 1.0

    cdef bint take_images(self, cnp.ndarray images) except -1:
        cdef Py_ssize_t i, batch = self.shape[0]
        cdef bint bytes = cnp.PyArray_TYPE(images) == cnp.NPY_UINT8
        if cnp.PyArray_NDIM(images) != len(self.shape):
            return False
        for i in range(self.now.chosen != NULL, len(self.shape)):
            if cnp.PyArray_DIM(images, i) != <Py_ssize_t>self.shape[i]:
                return False
        self.plan.step_stages.stages[0].items = 0
        self.plan.run.input = <const float*>cnp.PyArray_DATA(images)
        if bytes or self.now.chosen != NULL:
            if self.now.gathered == NULL:
                self.gathered = zeros_on_line(batch * self.plan.run.input_size)
                self.now.gathered = &self.gathered[0]
            self.now.floats = self.plan.run.input
            self.now.bytes = <const uint8_t*>cnp.PyArray_DATA(images) if bytes else NULL
            self.plan.run.input = self.now.gathered
            self.plan.step_stages.stages[0].items = batch
        return True

    cdef bint take_labels(self, cnp.ndarray labels, Py_ssize_t samples) except -1:
        """Copy those of the batch, check them, and add up their weights in order."""
        cdef const void* given = cnp.PyArray_DATA(labels)
        cdef int kind = cnp.PyArray_TYPE(labels)
        cdef Py_ssize_t n, i, k, batch = self.labels.shape[0], classes = self.now.classes
        cdef const float* weight = self.now.class_weight
        cdef int64_t label
        if cnp.PyArray_SIZE(labels) != samples:
            return False
        self.now.weight_sum, self.now.weight_of_all = 0.0, classes
        for n in range(batch):
            i = n if self.now.chosen == NULL else self.now.chosen[n]
            if kind == cnp.NPY_INT64:
                label = (<const int64_t*>given)[i]
            elif kind == cnp.NPY_INT32:
                label = (<const int32_t*>given)[i]
            else:
                label = (<const uint8_t*>given)[i]
            self.labels[n] = label
            if label == self.now.ignore_index:
                continue
            if not 0 <= label < classes:
                raise ValueError(
                    f"labels[{i}] is {label}; with {classes} classes it must lie in "
                    f"0..{classes - 1} or be ignore_index ({self.now.ignore_index})"
                )
            self.now.weight_sum += 1.0 if weight == NULL else weight[label]
        if weight != NULL:
            self.now.weight_of_all = 0.0
            for k in range(classes):
                self.now.weight_of_all += weight[k]
        return True

    # --- the step ---------------------------------------------------------------------------------

    cdef make(self):
        """Run, and count what was run. Nothing here lets a signal's handler come between."""
        cdef bint whole = False
        cdef Py_ssize_t batch = self.labels.shape[0]
        state = self.take_state()
        self.take_varying()
        cdef int threads = get_num_threads() if self.shared else 1
        self.plan.start(batch, threads, not self.shared)
        self.plan.run.output = &self.logits[0, 0]
        self.plan.run.doutput = &self.dlogits[0, 0]
        self.plan.run.step = &self.now
        self.count_items()
        try:
            self.plan.go(self.plan.step_stages, threads)
            whole = isfinite(self.now.loss)
        finally:
            if whole:
                self.count(state)
            else:
                self.undo()
        return self.now.loss, self.now.correct

    cdef count_items(self):
        """Of stages that depend on the batch; clipping has work to do where there is a limit."""
        cdef Py_ssize_t third = self.plan.step_stages.count - 3
        cdef bint clips = self.now.max_norm != INFINITY
        self.plan.step_stages.stages[third].items = self.squares.shape[0] if clips else 0
        self.plan.step_stages.stages[third + 1].items = clips
        if self.loss_stage >= 0:
            self.plan.step_stages.stages[self.loss_stage].items = self.loss_items

    cdef take_state(self):
        """The optimizer's arrays that this step uses; new ones are its own only afterwards."""
        cdef float[::1] view
        cdef Py_ssize_t i
        optimizer = self.optimizer
        slots, names = optimizer.slots, optimizer.used_slots()
        self.now.first = False
        state = []
        for name in names:
            array = slots.get(name)
            if array is None:
                self.now.first = True
                array = np.zeros(self.values.shape[0], np.float32)
            state.append(array)
        self.now.state[0] = self.now.state[1] = NULL
        for i, array in enumerate(state):
            if array is not self.state[i]:
                self.state[i] = view = array
                self.addresses[i] = &view[0]
            self.now.state[i] = self.addresses[i]
        return dict(zip(names, state)) if self.now.first else None

    cdef take_varying(self):
        """What changes from step to step; and what the running statistics are now."""
        cdef Statistics statistics
        for index, layer in self.dropouts:
            self.plan.set_dropout(index, layer.p, layer.seed, layer.step, layer.stream)
        for index, layer in self.batchnorms:
            self.plan.set_batchnorm(index, layer.momentum, layer.eps)
        for statistics in self.statistics:
            statistics.keep()

    cdef count(self, state):
        cdef Statistics statistics
        if state is not None:
            self.optimizer.slots.update(state)
        self.optimizer.steps += 1
        for _, layer in self.dropouts:
            layer.step += 1
        for statistics in self.statistics:
            statistics.batches[0] += 1

    cdef undo(self):
        """Running statistics move in the forward pass already."""
        cdef Statistics statistics
        for statistics in self.statistics:
            statistics.put_back()


cdef class PreparedSteps(dict):
    """The steps of a model by the shape of their batch."""

    def run(self, x, y, loss_fn, optimizer, clip_norm):
        """What `TrainingStep.run` returns; None where no step is ready for such an array."""
        cdef TrainingStep step
        if not cnp.PyArray_CheckExact(x):
            return None
        step = self.get(x.shape)
        if step is None or not step.serves(optimizer):
            return None
        return step.run(x, y, loss_fn, clip_norm)


cpdef bint is_overridden(optimizer) except -1:
    """Whether somebody put functions of their own into the optimizer."""
    cdef dict own = vars(optimizer)
    return PyDict_GetItem(own, "step") != NULL or PyDict_GetItem(own, "update") != NULL
