"""The C structures of csrc/engine.h, and what other modules may know of a plan."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "csrc/engine.h" nogil:
    ctypedef struct c_map "map":
        Py_ssize_t where, copies, step, offset, channels, height, width, plane, row

    ctypedef struct tap_set:
        Py_ssize_t count
        const Py_ssize_t* x
        const Py_ssize_t* weight
        Py_ssize_t first_row, first_column, rows
        const Py_ssize_t* down

    ctypedef struct c_op "op":
        c_map x, y, dx, dy
        const float* weight
        const float* bias
        float* dweight
        float* dbias
        int relu, gate
        Py_ssize_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, groups
        Py_ssize_t input_sets
        tap_set forward_taps
        const tap_set* input_taps
        const Py_ssize_t* weight_taps
        Py_ssize_t partial
        c_map bytes
        int count_include_pad
        Py_ssize_t group, parts, output_parts, inputs, outputs, gradient_run, side
        int tight
        int planar
        c_map pooled, dpooled
        Py_ssize_t pool_h, pool_w
        uint64_t* seen
        float* packed
        float* packed_back
        const float* gamma
        const float* beta
        float* running_mean
        float* running_var
        int frozen
        double* statistics
        double* sums
        double momentum, eps, p
        uint64_t seed, step
        uint32_t stream
        int whole_channels
        float slope

    cdef enum:
        SGD
        ADAM

    ctypedef struct c_training "training":
        Py_ssize_t classes
        const int64_t* labels
        int64_t ignore_index
        const float* class_weight
        double smoothing, weight_sum, weight_of_all
        float* dlogits
        double* sums
        double* of_log
        double* rest
        uint8_t* right
        double loss
        Py_ssize_t correct
        const uint8_t* bytes
        const float* floats
        const int64_t* chosen
        float* gathered
        Py_ssize_t size, block_count
        const Py_ssize_t (*blocks)[2]
        float* values
        float* gradients
        float* state[2]
        double* squares
        double max_norm, factor
        int rule
        double lr, weight_decay, momentum, undamped
        int nesterov, first
        double beta1, beta2, eps, root1, root2
        int decoupled

    ctypedef struct c_interruption "interruption":
        int (*wanted)() noexcept nogil
        int stopped

    ctypedef struct c_run "run":
        float* arena
        Py_ssize_t slot_stride, batch, slots, items, threads
        float* partials
        Py_ssize_t partial_stride
        float* local
        Py_ssize_t local_stride
        float* scratch
        Py_ssize_t scratch_stride, input_size, output_size
        const float* input
        float* output
        const float* doutput
        float* dinput
        Py_ssize_t samples
        c_training* step
        c_interruption* interruption
        double* spent
        double* spent_in_calls

    ctypedef void (*pass_function "pass *")(const c_op*, const c_run*, Py_ssize_t) noexcept nogil

    ctypedef struct c_call "call":
        pass_function function
        const c_op* op
        Py_ssize_t every, number

    ctypedef struct c_stage "stage":
        Py_ssize_t items
        const c_call* calls
        Py_ssize_t count, grain
        int wait, whole

    ctypedef struct kernel_table:
        const char* name
        Py_ssize_t lanes
        double (*fma_probe)(Py_ssize_t steps, float* sink) noexcept nogil

    cdef enum:
        LINEAR_OUTPUTS
        LINEAR_INPUTS
        LINEAR_VECTORS
        PARTIAL_BLOCK
        ROWS_OUTPUTS
        ROWS_SHARES
        ROWS_INPUTS
        ROWS_SCRATCH
        MOST_OUTPUTS
        TIGHT_ROWS
        TIGHT_FLOATS
        TIGHT_OUTPUTS
        WINNER_WINDOWS, WINNER_PLANES
        WINOGRAD_PANEL
        WINOGRAD_FLOATS
        WINOGRAD_MOST_TILES
        WINOGRAD_FEWEST_TILES
        STRIDED_FLOATS
        STRIDED_CHANNELS
        BATCH_VECTORS
        UPDATE_BLOCK
        SUM_VECTORS

    const kernel_table* choose_kernels(const char* name)
    pass_function find_pass(const kernel_table* kernels, const char* name)
    int run_stages(const c_stage* stages, Py_ssize_t count, const c_run* r, int threads)


cdef class Stages:
    cdef c_stage* stages
    cdef c_call* calls
    cdef Py_ssize_t count
    cdef list names                     # of the calls of each stage
    cdef double[::1] spent, spent_in_calls


cdef class Plan:
    cdef c_op* ops
    cdef tap_set* taps
    cdef Stages forward_stages, backward_stages, step_stages
    cdef c_run run
    cdef c_interruption interruption
    cdef readonly list operations
    cdef list kept
    cdef public bint timed              # note what the leading thread spends in each stage and call
    cdef object input
    cdef bint gives_dinput
    cdef Py_ssize_t capacity, workers, slot_samples, group
    cdef readonly Py_ssize_t input_size, output_size

    cdef fill(self, c_op* op, operation, Py_ssize_t first_taps)
    cdef c_op* op_of(self, operation)
    cdef c_map c_map_of(self, m)
    cdef fill_taps(self, tap_set* taps, given)
    cdef const Py_ssize_t* offsets(self, numbers)
    cdef float* floats(self, given)
    cdef float* zeros(self, Py_ssize_t count)
    cdef Stages make_stages(self, given)
    cdef check_index(self, Py_ssize_t index)
    cpdef set_dropout(self, Py_ssize_t index, double p, uint64_t seed, uint64_t step,
                      uint32_t stream)
    cpdef set_batchnorm(self, Py_ssize_t index, double momentum, double eps)
    cpdef reserve(self, Py_ssize_t slots, int threads)
    cdef Py_ssize_t items(self, Py_ssize_t slots)
    cdef answer(self, const float* x, float* y, Py_ssize_t batch, int threads, bint brief)
    cdef start(self, Py_ssize_t batch, int threads, bint brief)
    cdef go(self, Stages stages, int threads)
