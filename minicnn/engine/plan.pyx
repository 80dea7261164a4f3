"""Plans as the C code runs them: the operations, their stages and the memory they use.

`minicnn/lowering` decides what a plan does; here its description becomes C structures. See
docs/engine.md.
"""

import os

import numpy as np

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free


cdef extern from "Python.h":
    int PyErr_CheckSignals()                # that is: leave the exception where it is


cdef const kernel_table* table = NULL
ISAS = ("avx512", "avx2", "generic")


cdef choose():
    """The kernels of this process: the best, or what MINICNN_ISA asks for."""
    global table
    wish = os.environ.get("MINICNN_ISA")
    if wish is not None and wish not in ISAS:
        raise ImportError(f"MINICNN_ISA is {wish!r}; expected one of {', '.join(ISAS)}, or unset")
    name = (wish or "").encode()
    cdef const char* start = name
    table = choose_kernels(start if wish is not None else <const char*>NULL)
    if table == NULL:
        raise ImportError(
            f"MINICNN_ISA is {wish!r}, which this machine or its system does not support; unset "
            f"it to use {choose_kernels(NULL).name.decode()}"
        )


choose()
include "sizes.pxi"


def supported(str name):
    """Whether kernels of that name exist and this machine and its system can run them."""
    encoded = name.encode()
    return choose_kernels(encoded) != NULL


def isa():
    """The instruction set of the kernels in use, as their object's compiler told it."""
    return table.name.decode()


def fma_probe(Py_ssize_t steps):
    """Run 16 · `steps` independent multiply-adds of a vector, to time; returns the operations."""
    cdef float[::1] sink = aligned_zeros(table.lanes)
    cdef double operations
    with nogil:
        operations = table.fma_probe(steps, &sink[0])
    return operations


cdef class Stages:
    """A list of stages in C."""

    def __cinit__(self):
        self.spent = self.spent_in_calls = None

    def __dealloc__(self):
        free(self.stages)
        free(self.calls)


cdef class Plan:
    """Operations, the stages of a forward and of a backward pass, and memory for some slots.

    Parameters
    ----------
    operations : list of engine.description.Operation
    forward, backward, step : list of engine.description.Stage
        A pass each, and a whole training step.
    slot_floats, slot_samples : int
        Size of a slot, and the samples it holds: LANES, or 1 where the lanes are channels.
    local_floats : int
        Size of what each thread keeps while it works on a stage.
    partial_floats : int
        Size of the private gradients of an item.
    output_size : int
        Values of one sample of the output.
    """

    def __cinit__(self):
        self.kept = []

    def __init__(self, operations, forward, backward, step, slot_floats, local_floats,
                 slot_samples, partial_floats, input_size, output_size):
        self.operations = list(operations)
        self.slot_samples = slot_samples
        self.input_size, self.output_size = input_size, output_size
        self.run.slot_stride, self.run.local_stride = slot_floats, local_floats
        self.run.input_size, self.run.output_size = input_size, output_size
        self.run.scratch_stride = max(o.scratch for o in self.operations)
        self.run.partial_stride = partial_floats
        self.group = max(o.group for o in self.operations)
        self.ops = <c_op*>calloc(max(1, len(self.operations)), sizeof(c_op))
        self.taps = <tap_set*>calloc(
            max(1, sum(len(o.input_taps) for o in self.operations)), sizeof(tap_set))
        if self.ops == NULL or self.taps == NULL:
            raise MemoryError
        cdef Py_ssize_t i, first = 0
        for i, operation in enumerate(self.operations):
            self.fill(&self.ops[i], operation, first)
            first += len(operation.input_taps)
        self.forward_stages = self.make_stages(forward)
        self.backward_stages = self.make_stages(backward)
        self.step_stages = self.make_stages(step)
        self.gives_dinput = any(n.startswith("write_d") for s in backward for n, _ in s.calls)
        self.run.interruption = &self.interruption

    def __dealloc__(self):
        free(self.ops)
        free(self.taps)

    cdef fill(self, c_op* op, operation, Py_ssize_t first_taps):
        """One operation, apart from what changes between runs."""
        op.x, op.y = self.c_map_of(operation.x), self.c_map_of(operation.y)
        op.dx, op.dy = self.c_map_of(operation.dx), self.c_map_of(operation.dy)
        op.weight, op.bias = self.floats(operation.weight), self.floats(operation.bias)
        op.dweight, op.dbias = self.floats(operation.dweight), self.floats(operation.dbias)
        op.relu, op.gate = operation.relu, operation.gate
        op.kernel_h, op.kernel_w = operation.kernel
        op.stride_h, op.stride_w = operation.stride
        op.pad_h, op.pad_w = operation.padding
        op.groups, op.count_include_pad = operation.groups, operation.count_include_pad
        op.bytes = self.c_map_of(operation.bytes)
        op.whole_channels, op.slope = operation.whole_channels, operation.slope
        op.group, op.inputs, op.outputs = operation.group, operation.inputs, operation.outputs
        op.parts, op.output_parts = operation.parts, operation.output_parts
        op.tight, op.planar, op.side = operation.tight, operation.planar, operation.side
        op.gradient_run, op.partial = operation.gradient_run, operation.partial
        op.pooled, op.dpooled = self.c_map_of(operation.pooled), self.c_map_of(operation.dpooled)
        op.pool_h, op.pool_w = operation.pool
        of = operation.packed_of
        op.packed = self.zeros(operation.packed) if of is None else self.op_of(of).packed
        op.seen = <uint64_t*>self.zeros(2 * operation.outputs if operation.repacked else 0)
        op.packed_back = self.zeros(operation.packed_back)
        if operation.packs_over is not None:
            op.packed_back = self.op_of(operation.packs_over).packed
        if operation.forward_taps is not None:
            self.fill_taps(&op.forward_taps, operation.forward_taps)
            op.weight_taps = self.offsets(operation.weight_taps)
            op.input_sets = len(operation.input_taps)
            op.input_taps = self.taps + first_taps
            for i, taps in enumerate(operation.input_taps):
                self.fill_taps(&self.taps[first_taps + <Py_ssize_t>i], taps)
        op.gamma, op.beta = self.floats(operation.gamma), self.floats(operation.beta)
        op.running_mean = self.floats(operation.running_mean)
        op.running_var, op.frozen = self.floats(operation.running_var), operation.frozen
        if operation.statistics_of is not None:
            op.statistics = self.op_of(operation.statistics_of).statistics
        elif operation.running_mean is not None:
            op.statistics = <double*>self.zeros(2 * 4 * op.x.channels * table.lanes)

    cdef c_op* op_of(self, operation):
        return &self.ops[<Py_ssize_t>self.operations.index(operation)]

    cdef c_map c_map_of(self, m):
        if m is None:
            return c_map(0, 0, 0, 0, 0, 0, 0, 0, 0)
        return c_map(m.buffer.where, m.buffer.copies, m.buffer.floats, m.buffer.start + m.offset,
                     m.channels, m.height, m.width, m.plane, m.row)

    cdef fill_taps(self, tap_set* taps, given):
        taps.count = len(given.x)
        taps.x, taps.weight = self.offsets(given.x), self.offsets(given.weight)
        taps.first_row, taps.first_column = given.first
        taps.rows, taps.down = len(given.down), self.offsets(given.down)

    cdef const Py_ssize_t* offsets(self, numbers):
        cdef Py_ssize_t[::1] array = np.array([*numbers, 0], np.intp)
        self.kept.append(array)
        return &array[0]

    cdef float* floats(self, given):
        """The address of a float32 array, which is kept alive; NULL for None."""
        if given is None:
            return NULL
        cdef float[::1] array = given.reshape(-1)
        self.kept.append(array)
        return &array[0]

    cdef float* zeros(self, Py_ssize_t count):
        """`count` floats that last as long as the plan; NULL for none."""
        cdef float[::1] array = aligned_zeros(count)
        self.kept.append(array)
        return &array[0] if count else NULL

    cdef Stages make_stages(self, given):
        cdef Stages result = Stages()
        cdef Py_ssize_t i, at = 0
        result.count = len(given)
        result.names = [[f"{name}[{i}]" for name, i in s.calls] for s in given]
        result.stages = <c_stage*>calloc(max(1, result.count), sizeof(c_stage))
        result.calls = <c_call*>calloc(max(1, sum(len(s.calls) for s in given)), sizeof(c_call))
        if result.stages == NULL or result.calls == NULL:
            raise MemoryError
        for i, stage in enumerate(given):
            result.stages[i] = c_stage(
                stage.items, result.calls + at, len(stage.calls),
                max(self.operations[j].group for _, j in stage.calls), stage.wait, stage.whole,
            )
            for name, index in stage.calls:
                encoded = name.encode()
                result.calls[at].function = find_pass(table, encoded)
                if result.calls[at].function == NULL:
                    raise ValueError(f"there is no kernel {name!r}")
                result.calls[at].op = &self.ops[<Py_ssize_t>index]
                result.calls[at].every, result.calls[at].number = self.operations[index].group, at
                at += 1
        return result

    # --- what changes between runs --------------------------------------------------------------

    cpdef set_dropout(self, Py_ssize_t index, double p, uint64_t seed, uint64_t step,
                      uint32_t stream):
        """What decides the choices of operation `index` in the next run."""
        self.check_index(index)
        self.ops[index].p, self.ops[index].seed = p, seed
        self.ops[index].step, self.ops[index].stream = step, stream

    cpdef set_batchnorm(self, Py_ssize_t index, double momentum, double eps):
        self.check_index(index)
        self.ops[index].momentum, self.ops[index].eps = momentum, eps

    cpdef reserve(self, Py_ssize_t slots, int threads):
        """Memory for at least `slots` slots. Borders are zeroed here and never written."""
        if slots <= self.capacity and threads <= self.workers:
            return
        slots, threads = max(slots, self.capacity), max(threads, self.workers)
        cdef float[::1] local = aligned_zeros(threads * self.run.local_stride)
        cdef float[::1] arena = aligned_zeros(slots * self.run.slot_stride)
        cdef float[::1] partials = aligned_zeros(self.items(slots) * self.run.partial_stride)
        cdef float[::1] scratch = aligned_zeros(threads * self.run.scratch_stride)
        cdef float[::1] sums
        cdef list memory = [arena, partials, local, scratch]
        self.run.scratch = &scratch[0]
        self.run.arena, self.run.partials, self.run.local = &arena[0], &partials[0], &local[0]
        for operation in self.operations:
            if operation.statistics_of is not None:
                self.op_of(operation).sums = self.op_of(operation.statistics_of).sums
            elif operation.running_mean is not None:
                sums = aligned_zeros(2 * slots * 2 * operation.x.channels * table.lanes)
                memory.append(sums)
                self.op_of(operation).sums = <double*>&sums[0]
        self.kept = [k for k in self.kept if not isinstance(k, list)] + [memory]
        self.capacity, self.workers = slots, threads

    cdef Py_ssize_t items(self, Py_ssize_t slots):
        return item_count(slots, self.slot_samples, self.group)

    # --- running ----------------------------------------------------------------------------------

    def forward(self, const float[:, ::1] x not None, float[:, ::1] y not None, int threads):
        """y (N, output_size) from x (N, input_size)."""
        cdef Py_ssize_t batch = x.shape[0]
        if batch < 1 or x.shape[1] != self.input_size or y.shape[1] != self.output_size \
                or y.shape[0] != batch or threads < 1:
            raise ValueError(f"x has shape {(x.shape[0], x.shape[1])}, y {(y.shape[0], y.shape[1])}"
                             f"; expected (N, {self.input_size}) and (N, {self.output_size})")
        self.input = x  # the backward pass may read it again
        self.answer(&x[0, 0], &y[0, 0], batch, threads, False)

    cdef answer(self, const float* x, float* y, Py_ssize_t batch, int threads, bint brief):
        """A forward pass; a `brief` one keeps the interpreter from others, and needs one thread."""
        cdef Stages stages = self.forward_stages
        self.start(batch, threads, brief)
        self.run.input, self.run.output = x, y
        if not brief or self.timed:
            self.go(stages, threads)
        elif not run_stages(stages.stages, stages.count, &self.run, 1):
            raise_pending()

    def backward(self, const float[:, ::1] dy not None, float[:, ::1] dx, int threads):
        """The parameters' gradients of the last forward pass, and dx if the plan makes it."""
        shape, size = (dy.shape[0], dy.shape[1]), (self.run.batch, self.output_size)
        if shape != size or min(self.run.batch, threads) < 1:
            raise ValueError(f"dy has shape {shape}; expected {size}, as the last output")
        cdef Py_ssize_t expected = dy.shape[0] * self.input_size if self.gives_dinput else 0
        if expected != (0 if dx is None else dx.shape[0] * dx.shape[1]):
            raise ValueError(f"dx must have {expected} values; with none, be None")
        self.run.doutput, self.run.dinput = &dy[0, 0], &dx[0, 0] if expected else NULL
        self.go(self.backward_stages, threads)

    cdef start(self, Py_ssize_t batch, int threads, bint brief):
        """Be ready for a run with that many samples; nothing interrupts a `brief` one."""
        cdef Py_ssize_t slots = (batch + self.slot_samples - 1) // self.slot_samples
        self.reserve(slots, threads)
        self.interruption.wanted = interruption_wanted
        if brief:
            self.interruption.wanted = NULL
        self.run.batch, self.run.slots, self.run.items = batch, slots, self.items(slots)
        self.run.samples, self.run.threads = self.slot_samples, threads

    cdef go(self, Stages stages, int threads):
        """Run the stages without the interpreter; raises what a signal's handler raises."""
        cdef int whole
        self.run.spent = self.run.spent_in_calls = NULL
        if self.timed:
            stages.spent = np.zeros(stages.count + 1)
            stages.spent_in_calls = np.zeros(sum(map(len, stages.names)) + 1)
            self.run.spent = &stages.spent[0]
            self.run.spent_in_calls = &stages.spent_in_calls[0]
        with nogil:
            whole = run_stages(stages.stages, stages.count, &self.run, threads)
        if not whole:
            raise_pending()

    def stage_times(self, of="step"):
        """What the last "step", "forward" or "backward" pass that was `timed` took.

        A list of stages, each (microseconds, [(call, microseconds), …]): of the leading thread,
        with its waiting for the others in the stage's figure and its own items alone in the calls'.
        """
        cdef Stages stages = {"step": self.step_stages, "forward": self.forward_stages,
                              "backward": self.backward_stages}[of]
        if stages.spent is None:
            raise RuntimeError(f"nothing was timed: set `timed` and make a {of} pass")
        calls = iter(np.asarray(stages.spent_in_calls).tolist())
        return [(spent, [(name, next(calls)) for name in names])
                for spent, names in zip(np.asarray(stages.spent).tolist(), stages.names)]

    cdef check_index(self, Py_ssize_t index):
        if not 0 <= index < len(self.operations):
            raise IndexError(f"there is no operation {index}")


cdef int interruption_wanted() noexcept with gil:
    """Let the handlers of signals run; whether one raised an exception, which stays pending."""
    return PyErr_CheckSignals() != 0


cdef int raise_pending() except -1:
    return -1


cdef float[::1] aligned_zeros(Py_ssize_t count):
    """`count` zeros (at least one) that start at a multiple of 128 bytes."""
    block = np.zeros(count + 33, np.float32)
    cdef Py_ssize_t skip = -block.ctypes.data % 128 // 4
    return block[skip:skip + max(1, count)]
