"""Maps that the backward pass makes again instead of keeping them (channels in the lanes).

Such a map is large and cheap to make:

- a convolution's x that a BatchNorm made, or that is a copy of the network's input with a border;
- a BatchNorm's dy that max-pooling spread out, which is needed for its sums and then for dx;
- a BatchNorm's x that the network's first convolution made, where that is a small part of all work.

The former two stay in a thread's memory, each time; the last one takes a place that others leave.
"""

from dataclasses import replace
from itertools import pairwise

from ..engine import LANES
from ..engine.description import INPUT, Map, Memory, Operation
from .channels import border_of_x, floats
from .nodes import Node

LITTLE = 1 / 32  # of the forward pass's multiply-adds, for a first convolution to be made again

Call = tuple[str, Operation]  # the kernel's name, and what for


def renew_values(nodes: list[Node], begin: Operation, memory: Memory) -> None:
    """Let the backward pass make such maps again."""
    first = nodes[0]
    renew_x(first, read_again(first, begin, memory))
    for node, after in pairwise(nodes):
        op = node.op
        if node.kind != "batchnorm" or not node.layer.training:
            continue
        if after.kind == "conv":
            again = memory.map(floats(node.y.shape), border_of_x(after))
            norm = replace(op, y=again, statistics_of=op)
            renew_x(after, [("channel_batchnorm_forward", norm)])
        elif after.kind == "max_pool" and op.dx is not None:
            again = memory.map(floats(node.y.shape))
            node.renewed = [("max_pool_backward", replace(after.op, dx=again))]
            node.back = replace(op, dy=again, statistics_of=op)
    if len(nodes) > 2 and is_made_again(nodes):
        renew_first_convolution(nodes, begin, memory)


def read_again(first: Node, begin: Operation, memory: Memory) -> list[Call]:
    """The call that makes the first convolution's x; none where x is the network's input."""
    assert begin.x is not None
    if first.kind != "conv" or begin.x.buffer.where == INPUT:
        return []
    shape, pixel = (begin.x.channels, *first.x.shape[1:]), 1 if begin.planar else LANES
    again = memory.map(shape, border_of_x(first), pixel)
    return [("read_planar" if begin.planar else "read_channels", replace(begin, x=again))]


def made(calls: list[Call], otherwise: Map | None) -> Map | None:
    """The map that the last of the calls makes."""
    if not calls:
        return otherwise
    name, op = calls[-1]
    return op.x if name.startswith("read") else op.y


def renew_x(node: Node, calls: list[Call]) -> None:
    """Let the backward pass of a convolution use the x that the calls make."""
    op = node.op
    if calls and not op.over_batch:
        node.renewed, node.back = calls, replace(op, x=made(calls, None), packed=0)
        op.packed_back = 0


def is_made_again(nodes: list[Node]) -> bool:
    """Whether the backward pass makes the output of the first convolution again."""
    first, norm = nodes[:2]
    if first.kind != "conv" or norm.kind != "batchnorm" or not norm.layer.training:
        return False
    work = [node.layer.multiply_adds(node.x_shape) for node in nodes]
    return bool(first.op.planar and first.op.dx is None and work[0] <= LITTLE * sum(work))


def renew_first_convolution(nodes: list[Node], begin: Operation, memory: Memory) -> None:
    """Make the x of the BatchNorm behind it again when it is wanted, after all others are done with
    their maps: where the x of a convolution behind that BatchNorm is made, or for its sums."""
    first, norm, after = nodes[:3]
    read = read_again(first, begin, memory)
    y = memory.map(floats(first.y.shape))
    conv = replace(first.op, x=made(read, first.op.x), y=y, packed=0, packed_of=first.op)
    calls = [*read, ("channel_conv_forward", conv)]
    if after.kind == "conv" and after.renewed:
        after.renewed = [*calls, *((name, replace(op, x=y)) for name, op in after.renewed)]
    else:
        norm.renewed_for_sums = calls
    norm.summed = replace(norm.op, x=y, statistics_of=norm.op)
    norm.back = replace(norm.back or norm.op, x=y, statistics_of=norm.op)
