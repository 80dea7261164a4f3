"""Maps that the backward pass makes again instead of keeping them (channels in the lanes)."""

from dataclasses import replace
from itertools import pairwise

from ..engine import LANES
from ..engine.description import INPUT, Map, Memory, Operation
from .channels import border_of_x, floats
from .nodes import Node


def renew_values(nodes: list[Node], begin: Operation, memory: Memory) -> None:
    """Let the backward pass make large maps again that are cheap to make.

    Such a map then stays in a thread's memory, both times. They are a convolution's x that a
    BatchNorm made, or that is a copy of the network's input with a border; and a BatchNorm's dy
    that max-pooling spread out, which is needed for its sums and then for dx.
    """
    first = nodes[0]
    assert begin.x is not None
    if first.kind == "conv" and begin.x.buffer.where != INPUT:
        again = memory.map(
            (begin.x.channels, *first.x.shape[1:]), border_of_x(first), 1 if begin.planar else LANES
        )
        read = "read_planar" if begin.planar else "read_channels"
        renew_x(first, (read, replace(begin, x=again)), again)
    for node, after in pairwise(nodes):
        op = node.op
        if node.kind != "batchnorm" or not node.layer.training:
            continue
        if after.kind == "conv":
            again = memory.map(floats(node.y.shape), border_of_x(after))
            norm = replace(op, y=again, statistics_of=op)
            renew_x(after, ("channel_batchnorm_forward", norm), again)
        elif after.kind == "max_pool" and op.dx is not None:
            again = memory.map(floats(node.y.shape))
            node.renewed = "max_pool_backward", replace(after.op, dx=again)
            node.back = replace(op, dy=again, statistics_of=op)


def renew_x(node: Node, call: tuple[str, Operation], again: Map) -> None:
    """Let the backward pass of a convolution use the x that `call` makes."""
    op = node.op
    if not op.over_batch:
        node.renewed, node.back = call, replace(op, x=again, packed=0)
        op.packed_back = 0
