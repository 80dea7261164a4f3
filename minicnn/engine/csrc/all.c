/* The kernels of one instruction set: this file is compiled once for each, with its flags. */
#include "batchnorm.c"
#include "conv.c"
#include "layout.c"
#include "pointwise.c"
#include "pool.c"
#include "probe.c"
#include "linear.c"
#include "tiles.c"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

const kernel_table NAMED(kernels) = {
    .name = TEXT(ISA),
    .lanes = LANES,
    .read_input = NAMED(read_input),
    .write_output = NAMED(write_output),
    .read_doutput = NAMED(read_doutput),
    .conv_forward = NAMED(conv_forward),
    .conv_backward = NAMED(conv_backward),
    .sum_partials = NAMED(sum_partials),
    .copy_gradient = NAMED(copy_gradient),
    .linear_forward = NAMED(linear_forward),
    .linear_backward_weight = NAMED(linear_backward_weight),
    .linear_backward_input = NAMED(linear_backward_input),
    .relu_forward = NAMED(relu_forward),
    .relu_backward = NAMED(relu_backward),
    .max_pool_forward = NAMED(max_pool_forward),
    .max_pool_backward = NAMED(max_pool_backward),
    .avg_pool_forward = NAMED(avg_pool_forward),
    .avg_pool_backward = NAMED(avg_pool_backward),
    .dropout_forward = NAMED(dropout_forward),
    .dropout_backward = NAMED(dropout_backward),
    .batchnorm_sums = NAMED(batchnorm_sums),
    .batchnorm_forward = NAMED(batchnorm_forward),
    .batchnorm_eval = NAMED(batchnorm_eval),
    .batchnorm_gradient_sums = NAMED(batchnorm_gradient_sums),
    .batchnorm_backward = NAMED(batchnorm_backward),
    .fma_probe = NAMED(fma_probe),
};
