"""The oracle: every operation of minicnn in float64 NumPy, written from its definition.

Nothing here is fast and nothing here is shared with the package: the kernels are checked
against these functions, and these functions are checked against finite differences and
against numbers worked out by hand (`test_reference.py`, `test_reference_values.py`).

Conventions: arrays are N C H W, every result is float64, no argument is changed. A
`<op>_backward` takes what the forward took plus `dy`, the gradient of the result, and
returns the gradient of each differentiable argument, in the order of the arguments.
"""

from reference.activations import (
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    tanh_backward,
    tanh_forward,
)
from reference.batchnorm import (
    batchnorm_eval_backward,
    batchnorm_eval_forward,
    batchnorm_train_backward,
    batchnorm_train_forward,
)
from reference.conv2d import conv2d_backward, conv2d_forward, conv2d_output_size
from reference.dropout import dropout_apply, dropout_backward, philox4x32
from reference.linear import linear_backward, linear_forward
from reference.optim import adam_step, clip_grad_norm, sgd_step
from reference.pool2d import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool_backward,
    global_avg_pool_forward,
    max_pool2d_backward,
    max_pool2d_forward,
    pool_output_size,
)
from reference.softmax_cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    log_softmax,
    soft_cross_entropy_backward,
    soft_cross_entropy_forward,
    softmax,
)

__all__ = [
    "adam_step",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batchnorm_eval_backward",
    "batchnorm_eval_forward",
    "batchnorm_train_backward",
    "batchnorm_train_forward",
    "clip_grad_norm",
    "conv2d_backward",
    "conv2d_forward",
    "conv2d_output_size",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_apply",
    "dropout_backward",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "philox4x32",
    "pool_output_size",
    "relu_backward",
    "relu_forward",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "soft_cross_entropy_backward",
    "soft_cross_entropy_forward",
    "softmax",
    "tanh_backward",
    "tanh_forward",
]
