# What an item of each kernel takes, and how much memory kernels want: part of plan.pyx.

LANES = table.lanes
BLOCKS = {
    "linear_forward": LINEAR_OUTPUTS,
    "linear_backward_weight": LINEAR_VECTORS * table.lanes,
    "linear_backward_input": LINEAR_INPUTS,
    "sum_partials": PARTIAL_BLOCK,
    "rows_forward": ROWS_OUTPUTS,
    "rows_backward_weight": ROWS_INPUTS,
    "rows_backward_weight_by_outputs": ROWS_OUTPUTS,
    "rows_backward_input": ROWS_INPUTS,
    "row_sum_partials": PARTIAL_BLOCK,
    "channel_conv_backward_weight_of_all": BATCH_VECTORS,
    "strided_conv_backward_weight_of_all": STRIDED_CHANNELS,
    "tight_sum_partials": TIGHT_OUTPUTS,
    "update": UPDATE_BLOCK,
    "channel_sum_partials": SUM_VECTORS * table.lanes,
}
BLOCKS |= dict.fromkeys((
    "channel_pack_forward", "channel_pack_backward", "tight_pack_backward",
    "channel_batchnorm_combine", "channel_batchnorm_gradient_combine",
    "winograd_pack_forward", "winograd_pack_backward", "winograd_sum_partials",
), table.lanes)
BLOCKS |= dict.fromkeys(
    ("strided_pack_forward", "strided_pack_backward"), WINOGRAD_PANEL * table.lanes
)
CONV_OUTPUTS = MOST_OUTPUTS  # whose gradients conv_backward sums at a time
SAMPLE_SHARES = ROWS_SHARES  # of rows_forward, where all outputs are one item
TIGHT = {"rows": TIGHT_ROWS, "floats": TIGHT_FLOATS}  # what tight_* take at most
SCRATCH = {"rows": ROWS_SCRATCH}  # floats of a thread that kernels take while they run
WINNERS = {"windows": WINNER_WINDOWS, "planes": WINNER_PLANES}  # that add_winner_rows takes at a time
WINOGRAD = {
    "panel": WINOGRAD_PANEL, "floats": WINOGRAD_FLOATS,
    "most_tiles": WINOGRAD_MOST_TILES, "fewest_tiles": WINOGRAD_FEWEST_TILES,
    "strided_floats": STRIDED_FLOATS,
}

cdef enum:
    FEWEST_ITEMS = 8
    MOST_ITEMS = 16


cpdef Py_ssize_t item_count(Py_ssize_t slots, Py_ssize_t slot_samples, Py_ssize_t together):
    """Into how many items slots fall, groups that can run side by side.

    With samples in the lanes each slot is one. Otherwise each has its private gradients, and there
    are as many as keep threads busy to the end even where one core is slower than the other; but
    calls that take several slots `together` are to find them. A function of the batch alone, since
    gradients are added item by item.
    """
    if slot_samples > 1:
        return slots
    return min(slots, max(FEWEST_ITEMS, min(MOST_ITEMS, slots // together)))
