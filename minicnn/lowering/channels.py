"""Plans with channels in the lanes: where values lie in a slot, and what operations need to know.

A slot holds one sample. The network's input stays as it came where its first reader can take it
so: a convolution of few channels, one plane a channel, or Linear, as one row.
"""

import math

from ..engine import LANES, geometry, winograd
from ..engine.description import INPUT, OUTPUT, Border, Map, Memory, Operation, Taps
from ..engine.plan import BLOCKS, SCRATCH, TIGHT, WINNERS
from ..layers import AvgPool2d, Dropout2d, GlobalAvgPool2d
from .nodes import LEARNERS, Node, Shape3, convolution, first_learner, windows_side_by_side
from .winograd import winograd_method

NO_BORDER = (0, 0, 0, 0)
FEW_CHANNELS = 8  # of x that would leave half of 16 lanes idle
MOST_WEIGHTS = 2**15  # of Linear where it takes sample by sample


def suits(nodes: list[Node]) -> bool:
    """Whether there are kernels for all of them: groups of channels would cross the lanes."""
    return all(node.layer.groups == 1 for node in nodes if node.kind == "conv")


def planes(channels: int) -> int:
    """Vectors that hold so many channels."""
    return -(-channels // LANES)


def floats(shape: Shape3) -> Shape3:
    """A shape in planes."""
    return planes(shape[0]), shape[1], shape[2]


def place_values(
    nodes: list[Node], memory: Memory, training: bool, input_gradient: bool
) -> Operation:
    """Maps for all values and, in training, for the gradients that somebody needs.

    Returns
    -------
    Operation
        What reads the network's input, and hands out its gradient if that is wanted.
    """
    first = first_learner(nodes, input_gradient)
    begin = place_input(nodes[0], memory)
    begin.inputs = nodes[0].x.shape[0]
    if input_gradient:
        begin.dx = nodes[0].x.gradient = memory.map(floats(nodes[0].x.shape))
    afters = [*nodes[1:], None]
    for node, after in zip(nodes, afters, strict=True):
        if not node.op.planar:
            node.op.winograd = winograd_method(node, training, after)
    for i, (node, after) in enumerate(zip(nodes, afters, strict=True)):
        node.y.map = memory.map(floats(node.y.shape), border_of_x(after) if after else NO_BORDER)
        if not training or i < first:
            continue
        wanted = border_of_dy(node) if i > first else NO_BORDER
        node.y.gradient = node.op.dy = memory.map(floats(node.y.shape), wanted)
        if i > first:
            node.op.dx, node.op.gate = node.x.gradient, node.x.gate
    last = nodes[-1].y.map
    if nodes[-1].kind == "linear" and last is not None and not training:
        last.buffer.where = OUTPUT
    return begin


def place_input(node: Node, memory: Memory) -> Operation:
    channels, height, width = node.x.shape
    if node.kind == "conv" and channels < LANES:
        border = border_of_x(node)
        node.x.map = memory.map(node.x.shape, border, pixel=1)
        node.op.planar = True
        if not any(border):
            node.x.map.buffer.where = INPUT
        return Operation(x=node.x.map, planar=True)
    if height * width == 1 and node.kind != "conv":  # whose x is made again, and has a border
        node.x.map = memory.map(floats(node.x.shape))
        row = Map(node.x.map.buffer, 0, 1, 1, channels, channels, channels)
        if node.kind == "linear":
            node.x.map.buffer.where = INPUT
        return Operation(x=row, planar=True)
    node.x.map = memory.map(floats(node.x.shape), border_of_x(node))
    return Operation(x=node.x.map)


def border_of_x(node: Node) -> Border:
    return geometry.input_border(convolution(node)) if node.kind == "conv" else NO_BORDER


def border_of_dy(node: Node) -> Border:
    if node.kind != "conv" or node.op.winograd is winograd.STRIDED:
        return NO_BORDER
    above, below, left, right = geometry.gradient_border(convolution(node))
    return above, below, left, right + pixels_a_vector(node) - 1


def pixels_a_vector(node: Node) -> int:
    """Neighbouring pixels that share a vector while dx is summed: several for few channels."""
    c = convolution(node)
    if c.stride != (1, 1) or c.dilation[1] > 1 or c.kernel[1] == 1 or node.op.winograd:
        return 1
    room = max(4, 1 << (node.x.shape[0] - 1).bit_length())
    return max(1, int(LANES) // room)


def fill(node: Node, memory: Memory) -> None:
    """The rest of the operation: parameters, windows, bytes."""
    op, layer = node.op, node.layer
    op.x, op.y = node.x.map, node.y.map
    op.inputs, op.outputs = node.x.shape[0], node.y.shape[0]
    if node.kind in LEARNERS:
        weight, bias = layer.weight, layer.bias
        op.weight, op.dweight = weight.data, weight.grad
        op.bias, op.dbias = (bias.data, bias.grad) if bias is not None else (None, None)
    if node.norm:
        op.gamma, op.beta = node.norm.weight.data, node.norm.bias.data
        op.running_mean, op.running_var = node.norm.running_mean, node.norm.running_var
    if node.kind == "conv":
        fill_conv(node)
    elif node.kind == "linear":
        op.scratch = SCRATCH["rows"]
    elif node.kind == "batchnorm":
        op.running_mean, op.running_var = layer.running_mean, layer.running_var
        op.frozen = op.dy is not None and not layer.training
    elif node.kind in ("max_pool", "avg_pool"):
        fill_pool(node)
    elif node.kind == "relu":
        op.slope = getattr(layer, "negative_slope", 0.0)
    elif node.kind == "dropout":
        op.whole_channels = isinstance(layer, Dropout2d)
    if node.kind == "dropout" or (node.kind == "max_pool" and op.dy is not None):
        op.bytes = memory.bytes(math.prod(floats(node.y.shape)) * LANES)


def pack_over(nodes: list[Node]) -> None:
    """Let the backward pass put the weights for dx where those of the forward pass were."""
    for node in nodes:
        op = node.back or node.op
        if node.kind == "conv" and op.dx is not None:
            node.op.packed = max(node.op.packed, op.packed_back)
            op.packed_back, op.packs_over = 0, node.op


def can_join(node: Node, pool: Node) -> bool:
    """Whether the kernel of a convolution does the pooling behind it as well."""
    return not node.op.winograd and windows_side_by_side(pool)


def fill_joined(node: Node) -> None:
    """What the kernel of a convolution and its pooling needs besides."""
    op, pool = node.op, node.pool
    assert pool is not None
    rows = planes(op.outputs) * op.pool[0] * op.pool[1] * pool.y.shape[2]
    op.scratch = max(op.scratch, rows * LANES)
    if op.planar and op.dy is not None:
        op.scratch = max(op.scratch, winners_scratch(node, pool))
    op.tight = op.dx is not None and not op.planar and suits_tight(node, pool)
    if op.tight:
        fill_tight(node)


def winners_scratch(node: Node, pool: Node) -> int:
    """Floats that `winner_rows.c` takes: windows, sums, rows of x with planes side by side."""
    c, width = convolution(node), pool.y.shape[2]
    windows = 2 * max(WINNERS["windows"], width) * LANES
    sums = planes(node.op.outputs) * LANES * c.kernel[0] * max(node.op.inputs, 2) * LANES
    rows = c.stride[0] + (c.kernel[0] - 1) * c.dilation[0] + 1
    pixels = (2 * width - 1) * c.stride[1] + c.kernel[1] + LANES
    return windows + sums + rows * winograd.spread(pixels * WINNERS["planes"])


def suits_tight(node: Node, pool: Node) -> bool:
    """Whether the backward pass should work on maps of x and dx without idle lanes."""
    sizes, inputs = convolution(node), node.x.shape[0]
    if LANES < 8 or inputs > FEW_CHANNELS or over_batch(node):
        return False
    if pool.layer.windows()[:2] != (2, 2) or (*sizes.stride, *sizes.dilation) != (1, 1, 1, 1):
        return False
    reach = (sizes.kernel[1] + 1) * inputs
    return sizes.kernel[1] > 1 and sizes.kernel[0] <= TIGHT["rows"] and reach <= TIGHT["floats"]


def over_batch(node: Node) -> bool:
    """Whether the gradients of the weights are more than what they are made of."""
    weights = node.x.shape[0] * node.y.shape[0] * math.prod(convolution(node).kernel)
    return weights > math.prod(node.x.shape) + math.prod(node.y.shape)


def fill_tight(node: Node) -> None:
    """What the kernels of `tight_winners.c` need."""
    op, pool, sizes = node.op, node.pool, convolution(node)
    assert pool is not None
    op.input_taps = []
    reach = planes((sizes.kernel[1] + 1) * op.inputs) * LANES
    op.packed_back = op.outputs * (sizes.kernel[0] + 2) * (reach + LANES)
    high, wide = (sizes.output[i] + sizes.kernel[i] - 1 for i in (0, 1))
    row = (planes(wide * op.inputs) + 1) * LANES
    windows = planes(op.outputs) * math.prod(pool.y.shape[1:]) * LANES
    op.scratch = max(op.scratch, (2 * high + 1) * row + 2 * reach + windows)


def fill_conv(node: Node) -> None:
    op, sizes = node.op, convolution(node)
    assert op.x is not None
    pixel = 1 if op.planar else LANES
    op.kernel, op.stride = sizes.kernel, sizes.stride
    op.padding = sizes.padding
    op.repacked = op.dy is None
    if op.winograd:
        method = op.winograd
        op.group = method.group(*sizes.output)
        op.packed = method.packed_floats(op.inputs, op.outputs)
        op.packed_back = method.packed_floats(op.outputs, op.inputs) if op.dx else 0
        op.scratch = method.scratch_floats(op.inputs, op.outputs)
        op.over_batch = method is winograd.STRIDED and over_batch(node)
        return
    op.forward_taps = geometry.forward_taps(sizes, op.x, pixel)
    op.weight_taps = op.forward_taps.x
    taps = math.prod(sizes.kernel)
    if op.planar:
        op.gradient_run = sizes.kernel[1] if sizes.dilation[1] == 1 else 1
        op.weight_taps = op.forward_taps.x[:: op.gradient_run]
        places = geometry.weight_taps(sizes, op.x, op.inputs, pixel)
        op.forward_taps = Taps(places, list(range(len(places))), (0, 0))
    op.packed = planes(op.outputs) * (op.inputs * taps + 1) * LANES
    if op.dx is not None:
        assert op.dy is not None
        op.side = pixels_a_vector(node)
        op.input_taps = geometry.input_taps(sizes, op.dy)
        if op.side > 1:
            op.input_taps = [geometry.side_by_side_taps(sizes, op.dy, op.side)]
            op.scratch = node.x.shape[2] * LANES
        most = sum(len(set.x) for set in op.input_taps)
        op.packed_back = planes(op.inputs) * op.outputs * most * LANES
        op.over_batch = not op.planar and over_batch(node)
        if op.over_batch:
            vectors = BLOCKS["channel_conv_backward_weight_of_all"]
            op.scratch = max(op.scratch, (taps * LANES + 1) * LANES * vectors)


def suits_one_stage(nodes: list[Node]) -> bool:
    """Whether each sample should go forward and backward through the net before the next one.

    Its values then stay in the caches. Nothing may need other samples, and Linear's weights, which
    pass by for each sample, must be small beside the maps.
    """
    if any(node.kind == "batchnorm" or node.op.group > 1 for node in nodes):
        return False
    weights: int = sum(node.op.weight.size for node in nodes if node.kind == "linear")
    maps: int = sum(math.prod(node.y.shape) for node in nodes if node.kind == "conv")
    return weights <= min(MOST_WEIGHTS, maps // 4)


def partial_floats(node: Node) -> int:
    """Size of private gradients: weights and bias, in whole vectors."""
    op = node.op
    if node.kind == "linear":
        return (planes(op.inputs * op.outputs) + planes(op.outputs)) * LANES
    if op.over_batch:
        return 0
    if op.winograd:
        return winograd.partial_floats(op.inputs, op.outputs)
    if op.tight:
        row = planes(op.kernel[1] * op.inputs)
        return (op.kernel[0] * row * LANES + 1) * planes(op.outputs) * LANES
    inputs = op.inputs if op.planar else planes(op.inputs) * LANES
    return (inputs * math.prod(op.kernel) + 1) * planes(op.outputs) * LANES


def fill_pool(node: Node) -> None:
    op, layer = node.op, node.layer
    if isinstance(layer, GlobalAvgPool2d):
        op.kernel = op.stride = (node.x_shape[1], node.x_shape[2])
        return
    windows = layer.windows()
    op.kernel, op.stride, op.padding = windows[:2], windows[2:4], windows[4:]
    op.count_include_pad = isinstance(layer, AvgPool2d) and layer.count_include_pad
