"""Which layers become operations, and what flows between those.

`KINDS` says which operation each layer is. Flatten, Identity and a Dropout in evaluation are no
operation at all; a ReLU behind Conv2d, Linear or BatchNorm becomes part of it. A chain that
holds any other layer, or a subclass of one of these, has no plan and runs layer by layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..engine.description import Map, Operation
from ..engine.geometry import Convolution
from ..layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
)
from ..layers.base import Shape

KINDS: dict[type[Layer], str] = {
    Conv2d: "conv", Linear: "linear", BatchNorm1d: "batchnorm", BatchNorm2d: "batchnorm",
    ReLU: "relu", LeakyReLU: "relu", MaxPool2d: "max_pool", AvgPool2d: "avg_pool",
    GlobalAvgPool2d: "avg_pool", Dropout: "dropout", Dropout2d: "dropout",
    Flatten: "", Identity: "",
}  # fmt: skip
FLATTEN = Flatten()
# Attributes that `settings` depends on; a prepared training step looks at no others.
ATTRIBUTES: dict[type[Layer], tuple[str, ...]] = {
    Conv2d: ("kernel_size", "stride", "padding", "dilation", "groups"),
    MaxPool2d: ("kernel_size", "stride", "padding", "ceil_mode"),
    AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    BatchNorm1d: ("_training", "_buffers"), BatchNorm2d: ("_training", "_buffers"),
    LeakyReLU: ("negative_slope",), Dropout: ("_training",), Dropout2d: ("_training",),
}  # fmt: skip
LEARNERS = ("conv", "linear", "batchnorm")  # have parameters, and can end with a ReLU

Shape3 = tuple[int, int, int]


@dataclass
class Value:
    """What flows from one operation to the next: its map, and that of its gradient."""

    shape: Shape3
    map: Map | None = None
    gradient: Map | None = None
    gate: bool = False  # the output of a fused ReLU


@dataclass(eq=False)
class Node:
    """A layer that becomes an operation. `x_shape`, `y_shape`: as the layer sees x and y."""

    layer: Any
    kind: str
    x: Value
    y: Value
    x_shape: Shape3
    op: Operation = field(default_factory=Operation)
    norm: Any = None  # a convolution's: the BatchNorm that went into its weights
    pool: "Node | None" = None  # a convolution's: the pooling that its kernel does as well
    back: Operation | None = None  # as the backward pass sees it, if its x or dy is made again
    renewed: list[tuple[str, Operation]] = field(default_factory=list)  # the calls that make it
    summed: Operation | None = None  # a BatchNorm as the sums of its gradients see it, if its x is
    renewed_for_sums: list[tuple[str, Operation]] = field(default_factory=list)  # made again: so
    copied: Operation | None = None  # moves the gradient of y to where op.dy wants it


def settings(layer: Layer) -> tuple[Any, ...] | None:
    """What a plan depends on besides shapes; None if no plan covers this layer.

    A plan serves only while these stay the same.
    """
    if refused(layer):
        return None
    if isinstance(layer, Conv2d):
        return (layer.kernel_size, layer.geometry())
    if isinstance(layer, (MaxPool2d, AvgPool2d)):
        included = isinstance(layer, AvgPool2d) and layer.count_include_pad
        return (layer.windows(), layer.ceil_mode, included)
    if isinstance(layer, (BatchNorm1d, BatchNorm2d)):
        return (layer.training, id(layer.running_mean), id(layer.running_var))
    if isinstance(layer, LeakyReLU):
        return (layer.negative_slope,)
    return (layer.training,) if isinstance(layer, Dropout) else ()


def three_axes(shape: Shape) -> Shape3:
    """A sample's shape as (channels, height, width)."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], 1, math.prod(shape[1:]))


def convolution(node: Node) -> Convolution:
    """Sizes of a Conv2d."""
    stride_h, stride_w, top, left, down, right, _ = node.layer.geometry()
    return Convolution(
        node.layer.kernel_size, (stride_h, stride_w), (top, left), (down, right),
        node.x_shape[1:], node.y.shape[1:],
    )  # fmt: skip


def make_nodes(layers: Sequence[Layer], input_shape: Shape, training: bool) -> list[Node]:
    """One node for each operation; none when a layer is not covered."""
    if len(input_shape) > 3 or any(refused(layer) for layer in layers):
        return []
    busy = [layer for layer in layers if operation_kind(layer)]
    nodes: list[Node] = []
    shape, value = input_shape, Value(three_axes(input_shape))
    for layer in layers:
        kind, output = operation_kind(layer), layer.output_shape(shape)
        # A fused ReLU's derivative is left to the next operation, so there must be one.
        fits = nodes and nodes[-1].kind in LEARNERS and (layer is not busy[-1] or not training)
        if type(layer) is ReLU and fits:
            nodes[-1].op.relu = value.gate = True
        elif kind:
            y = Value(three_axes(output))
            nodes.append(Node(layer, kind, value, y, three_axes(shape)))
            value = y
        shape = output
    return nodes


def windows_side_by_side(pool: Node) -> bool:
    """Whether the windows of a MaxPool2d lie side by side and inside the map."""
    high, wide, down, right, top, left = pool.layer.windows()
    inside = pool.y.shape[1] * high <= pool.x_shape[1] and pool.y.shape[2] * wide <= pool.x_shape[2]
    return inside and (high, wide, top, left) == (down, right, 0, 0)


def join_pools(nodes: list[Node], can_join: Callable[[Node, Node], bool]) -> list[Node]:
    """Let convolutions do the max-pooling behind them as well; returns those convolutions."""
    joined = []
    for node, pool in pairwise(nodes):
        if node.kind == "conv" and pool.kind == "max_pool" and can_join(node, pool):
            node.pool = pool
            node.op.pool, node.op.bytes = pool.op.kernel, pool.op.bytes
            node.op.pooled, node.op.dpooled = pool.op.y, pool.op.dy
            joined.append(node)
    return joined


def first_learner(nodes: list[Node], input_gradient: bool) -> int:
    """The first node that needs the gradient of its output; those behind it need all gradients.

    -1 where also the gradient of the network's input is wanted.
    """
    if input_gradient:
        return -1
    return next((i for i, node in enumerate(nodes) if node.kind in LEARNERS), len(nodes))


def fold_batchnorms(nodes: list[Node]) -> list[Node]:
    """The same nodes for prediction, where a BatchNorm scales the weights of the convolution before
    it, and shifts its bias."""
    result: list[Node] = []
    for node in nodes:
        before = result[-1] if result else None
        if node.kind != "batchnorm" or not before or before.kind != "conv" or before.norm:
            result.append(node)
        elif before.op.relu:
            result.append(node)
        else:
            before.norm, before.y, before.op.relu = node.layer, node.y, node.op.relu
    return result


def with_rows(nodes: list[Node]) -> list[Node]:
    """The same nodes where Linear, and who reads the output, want one row a sample.

    A map becomes a row by a node of its own. A Dropout in front of it moves behind it, where its
    units lie side by side.
    """
    result: list[Node] = []
    value = nodes[0].x
    for node in [*nodes, None]:
        size = math.prod(value.shape)
        flat = (size, 1, 1)
        reads_row = node is None or node.kind == "linear"
        # The gradient of a convolution's output has a border, so it is no row at any size.
        from_conv = bool(result) and result[-1].kind == "conv"
        turns = value.shape != flat and (node is None or reads_row or node.x_shape == flat)
        if turns or (reads_row and from_conv):
            if not result:
                value.shape = flat  # the network's input is a row already
            else:
                drop = result.pop() if type(result[-1].layer) is Dropout else None
                before = drop.x if drop else value
                row = Value(flat)
                result.append(Node(FLATTEN, "flatten", before, row, before.shape))
                value = row
                if drop:
                    value = Value(flat)
                    result.append(Node(drop.layer, "dropout", row, value, flat, drop.op))
        if node is not None:
            node.x, node.x_shape = value, value.shape
            result.append(node)
            value = node.y
    return result


def operation_kind(layer: Layer) -> str:
    """Name of the layer's operation; empty for a layer that moves no numbers."""
    if isinstance(layer, Dropout) and not layer.training:
        return ""
    return KINDS[type(layer)]


def refused(layer: Layer) -> bool:
    """Whether no plan can hold this layer."""
    if type(layer) not in KINDS:
        return True
    if "forward" in vars(layer) or "backward" in vars(layer):
        return True  # somebody put a function of their own there
    return isinstance(layer, MaxPool2d) and math.prod(layer.kernel_size) > 256  # winners are bytes
