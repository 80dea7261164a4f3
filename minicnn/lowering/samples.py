"""Plans with samples in the lanes: where values lie in a slot, and what operations need to know."""

import math

from ..engine import LANES, geometry
from ..engine.description import Border, Memory, Operation, reshaped
from ..engine.plan import CONV_OUTPUTS
from ..layers import AvgPool2d, Dropout2d, GlobalAvgPool2d
from .nodes import LEARNERS, Node, convolution, first_learner, windows_side_by_side

NO_BORDER = (0, 0, 0, 0)


def place_values(
    nodes: list[Node], memory: Memory, training: bool, input_gradient: bool
) -> Operation:
    """Maps for all values and, in training, for the gradients that somebody needs.

    A convolution wants zeros around what it sums over: x, and for dx also dy. They are part of
    the map, so whoever writes the values need not know. Linear writes its dx without gaps, and
    so does who sees x in another shape; then the gradient is copied to where the zeros are.

    Returns
    -------
    Operation
        What reads the network's input, and hands out its gradient if that is wanted.
    """
    first = first_learner(nodes, input_gradient)
    if input_gradient:
        nodes[0].x.gradient = memory.map(nodes[0].x.shape)
    nodes[0].x.map = memory.map(nodes[0].x.shape, border_of_x(nodes[0]))
    for i, node in enumerate(nodes):
        after = nodes[i + 1] if i + 1 < len(nodes) else None
        node.y.map = memory.map(node.y.shape, border_of_x(after) if after else NO_BORDER)
        if not training or i < first:
            continue
        wanted = border_of_dy(node) if i > first else NO_BORDER
        plain = after is None or after.kind == "linear" or after.x_shape != node.y.shape
        node.y.gradient = node.op.dy = memory.map(node.y.shape, NO_BORDER if plain else wanted)
        if plain and wanted != NO_BORDER:
            node.op.dy = memory.map(node.y.shape, wanted)
            node.copied = Operation(dx=node.y.gradient, dy=node.op.dy)
        if i > first:
            assert node.x.gradient is not None
            node.op.dx, node.op.gate = reshaped(node.x.gradient, node.x_shape), node.x.gate
    return Operation(x=reshaped(nodes[0].x.map, nodes[0].x_shape), dx=nodes[0].x.gradient)


def border_of_x(node: Node) -> Border:
    return geometry.input_border(convolution(node)) if node.kind == "conv" else NO_BORDER


def border_of_dy(node: Node) -> Border:
    return geometry.gradient_border(convolution(node)) if node.kind == "conv" else NO_BORDER


def fill(node: Node, memory: Memory) -> None:
    """The rest of the operation: parameters, windows, bytes."""
    op, layer = node.op, node.layer
    assert node.x.map is not None
    op.x, op.y = reshaped(node.x.map, node.x_shape), node.y.map
    if node.kind in LEARNERS:
        weight, bias = layer.weight, layer.bias
        op.weight, op.dweight = weight.data, weight.grad
        op.bias, op.dbias = (bias.data, bias.grad) if bias is not None else (None, None)
    if node.kind == "conv":
        fill_conv(node)
    elif node.kind == "batchnorm":
        op.running_mean, op.running_var = layer.running_mean, layer.running_var
        op.frozen = op.dy is not None and not layer.training
    elif node.kind in ("max_pool", "avg_pool"):
        fill_pool(node)
    elif node.kind == "relu":
        op.slope = getattr(layer, "negative_slope", 0.0)
    elif node.kind == "dropout":
        op.whole_channels = isinstance(layer, Dropout2d)
    if node.kind in ("max_pool", "dropout"):
        op.bytes = memory.bytes(math.prod(node.y.shape) * LANES)


def fill_conv(node: Node) -> None:
    op, layer, sizes = node.op, node.layer, convolution(node)
    assert op.x is not None
    op.kernel, op.stride, op.groups = sizes.kernel, sizes.stride, layer.groups
    op.forward_taps = geometry.forward_taps(sizes, op.x)
    op.weight_taps = geometry.weight_taps(sizes, op.x, op.x.channels // layer.groups)
    op.scratch = CONV_OUTPUTS * (len(op.weight_taps) + 1) * LANES
    if op.dx is not None:
        assert op.dy is not None
        op.input_taps = geometry.input_taps(sizes, op.dy)


def can_join(node: Node, pool: Node) -> bool:
    """Whether the kernel of a convolution does the pooling behind it as well."""
    return windows_side_by_side(pool) and pool.layer.windows()[:2] == (2, 2)


def fill_joined(node: Node) -> None:
    """What the kernel of a convolution and its pooling needs besides."""
    assert node.pool is not None
    pixels = math.prod(node.op.pool) * node.pool.y.shape[2]
    node.op.scratch += CONV_OUTPUTS * pixels * LANES


def fill_pool(node: Node) -> None:
    op, layer = node.op, node.layer
    if isinstance(layer, GlobalAvgPool2d):
        op.kernel = op.stride = (node.x_shape[1], node.x_shape[2])
        return
    windows = layer.windows()
    op.kernel, op.stride, op.padding = windows[:2], windows[2:4], windows[4:]
    op.count_include_pad = isinstance(layer, AvgPool2d) and layer.count_include_pad


def partial_floats(node: Node) -> int:
    """Size of a convolution's private gradients: those of its weight and bias."""
    return sum(p.size for p in node.layer.parameters())
