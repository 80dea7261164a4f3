/* The kernels of one instruction set: this file is compiled once for each, with its flags. */
#include "batchnorm.c"
#include "channel_batchnorm.c"
#include "channel_conv.c"
#include "channel_conv_pool.c"
#include "channel_layout.c"
#include "channel_paired.c"
#include "channel_pooled.c"
#include "channel_tiles.c"
#include "channel_winners.c"
#include "conv.c"
#include "conv_pool.c"
#include "layout.c"
#include "loss.c"
#include "pointwise.c"
#include "pool.c"
#include "probe.c"
#include "linear.c"
#include "rows_backward.c"
#include "rows_forward.c"
#include "strided.c"
#include "strided_tiles.c"
#include "tight_winners.c"
#include "tiles.c"
#include "update.c"
#include "winner_rows.c"
#include "winograd.c"
#include "winograd_products.c"
#include "winograd_tiles.c"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

#define PASS(name) {#name, NAMED(name)},

static const named_pass passes[] = {
    PASS(read_input)
    PASS(write_output)
    PASS(read_doutput)
    PASS(write_dinput)
    PASS(conv_forward)
    PASS(conv_backward)
    PASS(conv_pool_forward)
    PASS(conv_pool_backward_weight)
    PASS(sum_partials)
    PASS(copy_gradient)
    PASS(linear_forward)
    PASS(linear_backward_weight)
    PASS(linear_backward_input)
    PASS(relu_forward)
    PASS(relu_backward)
    PASS(max_pool_forward)
    PASS(max_pool_backward)
    PASS(avg_pool_forward)
    PASS(avg_pool_backward)
    PASS(dropout_forward)
    PASS(dropout_backward)
    PASS(batchnorm_sums)
    PASS(batchnorm_forward)
    PASS(batchnorm_eval)
    PASS(batchnorm_gradient_sums)
    PASS(batchnorm_backward)
    PASS(read_planar)
    PASS(read_channels)
    PASS(write_row)
    PASS(read_drow)
    PASS(write_drow)
    PASS(write_dchannels)
    PASS(flatten_forward)
    PASS(flatten_backward)
    PASS(rows_forward)
    PASS(row_forward)
    PASS(row_backward_weight)
    PASS(row_backward_input)
    PASS(row_sum_partials)
    PASS(rows_backward_weight)
    PASS(rows_backward_weight_by_outputs)
    PASS(rows_backward_input)
    PASS(channel_pack_forward)
    PASS(channel_pack_backward)
    PASS(channel_conv_forward)
    PASS(channel_conv_backward_weight)
    PASS(channel_conv_backward_input)
    PASS(channel_conv_pool_forward)
    PASS(channel_conv_pool_backward_weight)
    PASS(channel_conv_backward_weight_of_all)
    PASS(channel_sum_partials)
#if LANES >= 8
    PASS(tight_pack_backward)
    PASS(tight_conv_backward)
    PASS(tight_sum_partials)
#endif
    PASS(channel_batchnorm_sums)
    PASS(channel_batchnorm_combine)
    PASS(channel_batchnorm_forward)
    PASS(channel_batchnorm_eval)
    PASS(channel_batchnorm_gradient_sums)
    PASS(channel_batchnorm_gradient_combine)
    PASS(channel_batchnorm_backward)
    PASS(channel_dropout_forward)
    PASS(channel_dropout_backward)
    PASS(cross_entropy)
    PASS(row_cross_entropy)
    PASS(rows_cross_entropy)
    PASS(sum_losses)
    PASS(gather)
    PASS(square_gradients)
    PASS(clip_factor)
    PASS(update)
    PASS(strided_pack_forward)
    PASS(strided_pack_backward)
    PASS(strided_conv_forward)
    PASS(strided_conv_backward_input)
    PASS(strided_conv_backward_weight)
    PASS(strided_conv_backward_weight_of_all)
    PASS(winograd_pack_forward)
    PASS(winograd_pack_backward)
    PASS(winograd_conv_forward)
    PASS(winograd_conv_backward_input)
    PASS(winograd_conv_backward_weight)
    PASS(winograd_sum_partials)
    {NULL, NULL},
};

const kernel_table NAMED(kernels) = {
    .name = TEXT(ISA),
    .lanes = LANES,
    .passes = passes,
    .fma_probe = NAMED(fma_probe),
};
