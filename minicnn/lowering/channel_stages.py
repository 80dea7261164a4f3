"""The order of work of plans with channels in the lanes; see `stages.py`."""

import math

from ..engine.description import INPUT, OUTPUT, Operation
from ..engine.plan import BLOCKS, SAMPLE_SHARES
from .channels import planes
from .nodes import Node
from .stages import Stages

KEPT_WEIGHTS = 2**18  # of a Linear, which the threads' caches hold together


def family(node: Node) -> str:
    """Which kernels take the node, where the lanes are channels."""
    return node.op.winograd.name if node.op.winograd else "channel"


class ChannelStages(Stages):
    """Plans with channels in the lanes."""

    def prepare_forward(self) -> None:
        for node in self.nodes:
            if node.kind == "conv":
                self.blocks(f"{family(node)}_pack_forward", node.op, node.op.outputs, wait=False)
        self.pack_backward(over=False)
        assert self.begin.x is not None
        if self.begin.x.buffer.where != INPUT:
            self.slot("read_planar" if self.begin.planar else "read_channels", self.begin)
        if self.nodes[0].op.parts > 1:
            self.flush()
        if self.stages:  # the weights must be ready
            self.stages[-1] = self.stages[-1]._replace(wait=True)

    def pack_backward(self, over: bool) -> None:
        """Weights for dx, of the operations that put them over others, or of those that do not."""
        for node in self.nodes:
            op = node.back or node.op
            if node.kind == "conv" and op.dx is not None and (op.packs_over is not None) == over:
                size = op.inputs if op.winograd else op.outputs
                name = "tight" if op.tight else family(node)
                self.blocks(f"{name}_pack_backward", op, size, wait=False)
        if over and self.stages:  # the weights must be ready
            self.stages[-1] = self.stages[-1]._replace(wait=True)

    def forward_of(self, node: Node) -> None:
        if node in self.pools_forward:
            return
        if node.pool:
            self.parts("channel_conv_pool_forward", node.op)
        elif node.op.by_rows:
            self.slot("row_forward", node.op)
        elif node.kind == "linear":
            block = BLOCKS["rows_forward"]
            size = node.op.outputs if node.op.outputs > block else SAMPLE_SHARES * block
            self.blocks("rows_forward", node.op, size, wait=True)
        elif node.kind == "batchnorm" and node.layer.training:
            self.slot("channel_batchnorm_sums", node.op)
            self.blocks("channel_batchnorm_combine", node.op, node.op.outputs, wait=True)
            self.slot("channel_batchnorm_forward", node.op)
        elif node.kind == "batchnorm":
            self.slot("channel_batchnorm_eval", node.op)
        elif node.kind in ("conv", "dropout"):
            self.parts(f"{family(node)}_{node.kind}_forward", node.op)
        else:
            self.parts(f"{node.kind}_forward", node.op)

    def finish_forward(self) -> None:
        assert self.end.y is not None
        if self.end.y.buffer.where != OUTPUT:
            self.slot("write_row", self.end)

    def prepare_backward(self) -> None:
        self.packed = False
        linear = (i for i, node in enumerate(self.nodes) if node.kind == "linear")
        self.maps_only = self.nodes[: next(linear, len(self.nodes))]
        self.slot("read_drow", self.end)

    def backward_of(self, node: Node) -> None:
        if node in self.pools_backward:
            return
        # Once no Linear follows, so that a slot goes on from map to map without waiting for it.
        if not self.packed and (node in self.maps_only or node.kind in ("batchnorm", "conv")):
            self.packed = True
            self.pack_backward(over=True)
        if node.kind == "batchnorm":
            for call in node.renewed_for_sums:
                self.slot(*call)
            self.slot("channel_batchnorm_gradient_sums", node.summed or node.op)
            self.sum_complete_gradients()  # beside what everybody must wait for
            self.blocks("channel_batchnorm_gradient_combine", node.op, node.op.outputs, wait=True)
        for call in node.renewed:
            self.slot(*call)
        op = node.back or node.op
        if node.pool and op.dx is None:
            self.slot("channel_conv_pool_backward_weight", op)
        elif node.kind == "linear":
            self.linear_gradients(op)
        elif node.kind == "batchnorm":
            if op.dx is not None:
                self.slot("channel_batchnorm_backward", op)
        elif op.tight:
            self.slot("tight_conv_backward", op)
        elif node.kind == "conv":
            if not op.over_batch:
                self.slot(f"{family(node)}_conv_backward_weight", op)
            if op.dx is not None:
                self.slot(f"{family(node)}_conv_backward_input", op)
        elif node.kind == "dropout":
            self.slot("channel_dropout_backward", node.op)
        else:
            self.slot(f"{node.kind}_backward", node.op)

    def finish_backward(self) -> None:
        dx = self.begin.dx
        is_row = dx is not None and dx.height * dx.width == 1
        self.slot("write_drow" if is_row else "write_dchannels", self.begin)

    def linear_gradients(self, op: Operation) -> None:
        """Weights that fit into the caches stay with the threads that move and use them."""
        if op.by_rows:
            self.slot("row_backward_weight", op)
            if op.dx is not None:
                self.slot("row_backward_input", op)
            return
        assert op.weight is not None
        wait = op.dx is None
        inputs = op.inputs if op.inputs > BLOCKS["rows_backward_input"] else 2 * op.inputs
        if op.outputs > BLOCKS["rows_forward"] and op.weight.size <= KEPT_WEIGHTS:
            self.blocks("rows_backward_weight_by_outputs", op, op.outputs, wait)
        else:
            self.blocks("rows_backward_weight", op, inputs, wait)
        if not wait:
            self.blocks("rows_backward_input", op, inputs, wait=True)

    def sum_gradients(self, node: Node) -> None:
        if node.op.by_rows:
            block = BLOCKS["row_sum_partials"]
            items = -(-node.op.weight.size // block) + 1  # the last one is the bias
            self.blocks("row_sum_partials", node.op, items * block, wait=False)
            return
        if node.op.over_batch:
            self.gradients_of_all(node)
            return
        if node.op.tight:
            self.blocks("tight_sum_partials", node.op, node.op.outputs, wait=False)
            return
        if node.op.winograd:
            self.blocks("winograd_sum_partials", node.op, node.op.outputs, wait=False)
            return
        block = BLOCKS["channel_sum_partials"]
        parts = -(-node.op.inputs * math.prod(node.op.kernel) // block)
        items = planes(node.op.outputs) * parts
        self.blocks("channel_sum_partials", node.op, items * block, wait=False)

    def gradients_of_all(self, node: Node) -> None:
        op, name = node.op, f"{family(node)}_conv_backward_weight_of_all"
        block = BLOCKS[name]
        if op.winograd:
            items = -(-op.inputs // block) * -(-op.outputs // block)
        else:
            items = planes(op.inputs) * -(-planes(op.outputs) // block)
        self.blocks(name, op, items * block, wait=False)
