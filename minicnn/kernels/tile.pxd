"""The one inner loop that Linear and Conv2d share: a 4 x 8 tile of a matrix product.

    sums[i, j] = sum_t rows[i][step[t]] * panel[t, j]        i < 4, j < 8, t < depth

Eight sums side by side are two SSE registers, so the 32 sums stay in registers for the whole
loop and each value of the panel is used four times, each value of a row eight times. The sums
over j are independent of each other, so the compiler may use vector instructions without
reordering any sum; each sum runs over t in ascending order.

`step` is a table of offsets: it lets the same loop walk along a matrix (step[t] = t * stride)
or along the taps or the pixels of an image.
"""

cdef enum:
    ROWS = 4
    LANES = 8


cdef inline void multiply_tile(
    const float* row0, const float* row1, const float* row2, const float* row3,
    const Py_ssize_t* step,         # (depth,)
    const float* panel,             # (depth, LANES)
    Py_ssize_t depth,
    float* sums,                    # (ROWS, LANES), overwritten
) noexcept nogil:
    cdef float total[32]
    cdef float a0, a1, a2, a3
    cdef const float* b
    cdef Py_ssize_t t
    cdef int j
    for j in range(32):
        total[j] = 0.0
    for t in range(depth):
        a0 = row0[step[t]]
        a1 = row1[step[t]]
        a2 = row2[step[t]]
        a3 = row3[step[t]]
        b = panel + LANES * t
        for j in range(LANES):
            total[j] += a0 * b[j]
            total[LANES + j] += a1 * b[j]
            total[2 * LANES + j] += a2 * b[j]
            total[3 * LANES + j] += a3 * b[j]
    for j in range(32):
        sums[j] = total[j]


cdef inline void pack_panel(
    const float* source, Py_ssize_t depth_stride, Py_ssize_t lane_stride,
    Py_ssize_t depth, Py_ssize_t lanes,
    float* panel,                   # (depth, LANES), lanes beyond `lanes` become 0
) noexcept nogil:
    cdef Py_ssize_t t, j
    for t in range(depth):
        for j in range(lanes):
            panel[LANES * t + j] = source[t * depth_stride + j * lane_stride]
        for j in range(lanes, LANES):
            panel[LANES * t + j] = 0.0
