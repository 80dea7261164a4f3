"""A chain of layers as a plan for the engine.

`KINDS` says which operation each layer is. Flatten, Identity and a Dropout in evaluation are no
operation at all; a ReLU behind Conv2d, Linear or BatchNorm becomes part of it. A chain that
holds any other layer, or a subclass of one of these, has no plan and runs layer by layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .engine import geometry
from .engine.description import SLOTS, Border, Map, Memory, Operation, Stage, reshaped
from .engine.plan import BLOCKS, LANES
from .layers import (
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
from .layers.base import Shape

KINDS: dict[type[Layer], str] = {
    Conv2d: "conv", Linear: "linear", BatchNorm1d: "batchnorm", BatchNorm2d: "batchnorm",
    ReLU: "relu", LeakyReLU: "relu", MaxPool2d: "max_pool", AvgPool2d: "avg_pool",
    GlobalAvgPool2d: "avg_pool", Dropout: "dropout", Dropout2d: "dropout",
    Flatten: "", Identity: "",
}  # fmt: skip
LEARNERS = ("conv", "linear", "batchnorm")  # have parameters, and can end with a ReLU
NO_BORDER = (0, 0, 0, 0)

Shape3 = tuple[int, int, int]


@dataclass
class Value:
    """What flows from one operation to the next: its map, and that of its gradient."""

    shape: Shape3
    map: Map | None = None
    gradient: Map | None = None
    gate: bool = False  # the output of a fused ReLU


@dataclass
class Node:
    """A layer that becomes an operation. `x_shape`, `y_shape`: as the layer sees x and y."""

    layer: Any
    kind: str
    x: Value
    y: Value
    x_shape: Shape3
    op: Operation = field(default_factory=Operation)
    copied: Operation | None = None  # moves the gradient of y to where op.dy wants it


class Lowered(NamedTuple):
    """What `engine.Plan` takes, and the operations whose numbers change from run to run."""

    operations: list[Operation]
    forward: list[Stage]
    backward: list[Stage]
    slot_floats: int
    partial_floats: int
    nodes: list[Node]


def settings(layer: Layer) -> tuple[Any, ...] | None:
    """What a plan depends on besides shapes; None if no plan covers this layer.

    A plan serves only while these stay the same.
    """
    if type(layer) not in KINDS:
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


def lower(layers: Sequence[Layer], input_shape: Shape, training: bool) -> Lowered | None:
    """The plan of `layers` for samples of `input_shape`, or None when there is none.

    Parameters
    ----------
    layers : sequence of Layer
        With parameters, and known to fit each other and the input.
    training : bool
        Whether a backward pass will follow.
    """
    nodes = make_nodes(layers, input_shape, training)
    if not nodes:
        return None
    memory = Memory()
    place_values(nodes, memory, training)
    partial_floats = 0
    for node in nodes:
        fill(node, memory)
        if node.kind == "conv":
            node.op.partial = partial_floats
            partial_floats += sum(p.size for p in node.layer.parameters())
    end = Operation(y=nodes[-1].y.map, dy=nodes[-1].y.gradient)
    operations = [*(node.op for node in nodes), *(n.copied for n in nodes if n.copied), end]
    stages = Stages(nodes, operations)
    forward = stages.forward()
    backward = stages.backward() if training else []
    return Lowered(operations, forward, backward, memory.slot_floats, partial_floats, nodes)


# --- 1. operations, and what flows between them ---------------------------------------------------


def three_axes(shape: Shape) -> Shape3:
    """A sample's shape as (channels, height, width)."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], 1, math.prod(shape[1:]))


def make_nodes(layers: Sequence[Layer], input_shape: Shape, training: bool) -> list[Node]:
    """One node for each operation; none when a layer is not covered."""
    if len(input_shape) > 3 or any(refused(layer, training) for layer in layers):
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


def operation_kind(layer: Layer) -> str:
    """Name of the layer's operation; empty for a layer that moves no numbers."""
    if isinstance(layer, Dropout) and not layer.training:
        return ""
    return KINDS[type(layer)]


def refused(layer: Layer, training: bool) -> bool:
    """Whether no plan can hold this layer."""
    if type(layer) not in KINDS:
        return True
    if isinstance(layer, MaxPool2d):
        return math.prod(layer.kernel_size) > 256  # winners are bytes
    # Training with frozen statistics is rare, and left to the layers.
    return isinstance(layer, (BatchNorm1d, BatchNorm2d)) and training and not layer.training


# --- 2. memory --------------------------------------------------------------------------------------


def place_values(nodes: list[Node], memory: Memory, training: bool) -> None:
    """Maps for all values and, in training, for the gradients that somebody needs.

    A convolution wants zeros around what it sums over: x, and for dx also dy. They are part of
    the map, so whoever writes the values need not know. Linear writes its dx without gaps, and
    so does who sees x in another shape; then the gradient is copied to where the zeros are.
    """
    first = next((i for i, node in enumerate(nodes) if node.kind in LEARNERS), len(nodes))
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


def convolution(node: Node) -> geometry.Convolution:
    stride_h, stride_w, top, left, down, right, _ = node.layer.geometry()
    return geometry.Convolution(
        node.layer.kernel_size, (stride_h, stride_w), (top, left), (down, right),
        node.x_shape[1:], node.y.shape[1:],
    )  # fmt: skip


def border_of_x(node: Node) -> Border:
    return geometry.input_border(convolution(node)) if node.kind == "conv" else NO_BORDER


def border_of_dy(node: Node) -> Border:
    return geometry.gradient_border(convolution(node)) if node.kind == "conv" else NO_BORDER


# --- 3. what each operation needs to know -----------------------------------------------------------


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
    elif node.kind in ("max_pool", "avg_pool"):
        fill_pool(node)
    elif node.kind == "relu":
        op.slope = getattr(layer, "negative_slope", 0.0)
    elif node.kind == "dropout":
        op.whole_channels = isinstance(layer, Dropout2d)
    if node.kind in ("max_pool", "dropout"):
        op.bytes = memory.take(math.prod(node.y.shape) * LANES // 4)


def fill_conv(node: Node) -> None:
    op, layer, sizes = node.op, node.layer, convolution(node)
    assert op.x is not None
    op.kernel, op.stride, op.groups = sizes.kernel, sizes.stride, layer.groups
    op.forward_taps = geometry.forward_taps(sizes, op.x)
    op.weight_taps = geometry.weight_taps(sizes, op.x, op.x.channels // layer.groups)
    if op.dx is not None:
        assert op.dy is not None
        op.input_taps = geometry.input_taps(sizes, op.dy)


def fill_pool(node: Node) -> None:
    op, layer = node.op, node.layer
    if isinstance(layer, GlobalAvgPool2d):
        op.kernel = op.stride = (node.x_shape[1], node.x_shape[2])
        return
    windows = layer.windows()
    op.kernel, op.stride, op.padding = windows[:2], windows[2:4], windows[4:]
    op.count_include_pad = isinstance(layer, AvgPool2d) and layer.count_include_pad


# --- 4. the order of work ---------------------------------------------------------------------------


class Stages:
    """Builds the stages of both passes.

    Calls that a slot can make without looking at other slots are collected, so that a slot runs
    through them all while its values are in the caches.
    """

    def __init__(self, nodes: list[Node], operations: list[Operation]):
        self.nodes = nodes
        self.end = operations[-1]
        self.index = {id(operation): i for i, operation in enumerate(operations)}
        self.stages: list[Stage] = []
        self.calls: list[tuple[str, int]] = []

    def slot(self, name: str, op: Operation) -> None:
        self.calls.append((name, self.index[id(op)]))

    def flush(self) -> None:
        """Let all slots finish what was collected."""
        if self.calls:
            self.stages.append(Stage(SLOTS, self.calls, True))
        self.calls = []

    def blocks(self, name: str, op: Operation, size: int, wait: bool) -> None:
        """A stage that shares out `size` values, for which all slots must be ready."""
        self.flush()
        items = -(-size // BLOCKS[name])
        self.stages.append(Stage(items, [(name, self.index[id(op)])], wait))

    def forward(self) -> list[Stage]:
        self.stages, self.calls = [], []
        self.slot("read_input", self.nodes[0].op)
        for node in self.nodes:
            if node.kind == "linear":
                self.blocks("linear_forward", node.op, node.y.shape[0], wait=True)
            elif node.kind == "batchnorm" and node.layer.training:
                self.slot("batchnorm_sums", node.op)
                self.flush()
                self.slot("batchnorm_forward", node.op)
            elif node.kind == "batchnorm":
                self.slot("batchnorm_eval", node.op)
            else:
                self.slot(f"{node.kind}_forward", node.op)
        self.slot("write_output", self.end)
        self.flush()
        return self.stages

    def backward(self) -> list[Stage]:
        self.stages, self.calls = [], []
        self.slot("read_doutput", self.end)
        for node in reversed([n for n in self.nodes if n.op.dy is not None]):
            if node.copied is not None:
                self.slot("copy_gradient", node.copied)
            if node.kind == "linear":
                inputs = math.prod(node.x_shape)
                self.blocks("linear_backward_weight", node.op, inputs, wait=node.op.dx is None)
                if node.op.dx is not None:
                    self.blocks("linear_backward_input", node.op, inputs, wait=True)
            elif node.kind == "batchnorm":
                self.slot("batchnorm_gradient_sums", node.op)
                self.flush()
                self.slot("batchnorm_backward", node.op)
            else:
                self.slot(f"{node.kind}_backward", node.op)
        self.flush()
        for node in self.nodes:
            if node.kind == "conv":
                size = sum(p.size for p in node.layer.parameters())
                self.blocks("sum_partials", node.op, size, wait=False)
        return self.stages
