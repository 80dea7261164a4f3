"""The order of a plan's work: which calls run beside each other, and who waits for whom."""

import math

from ..engine.description import SLOTS, Operation, Stage
from ..engine.plan import BLOCKS
from .nodes import Node


class Stages:
    """Builds the stages of both passes.

    Calls that a slot can make without looking at other slots are collected, so that a slot runs
    through them all while its values are in the caches.

    Parameters
    ----------
    nodes : list of Node
    operations : list of Operation
        Those of the nodes and, last, of the network's input and of its output.
    """

    def __init__(self, nodes: list[Node], operations: list[Operation]):
        self.nodes = nodes
        self.begin, self.end = operations[-2:]
        self.index = {id(operation): i for i, operation in enumerate(operations)}
        self.stages: list[Stage] = []
        self.calls: list[tuple[str, int]] = []
        joined = [node for node in nodes if node.pool]
        self.pools_forward = [node.pool for node in joined]
        self.pools_backward = [n.pool for n in joined if n.op.dx is None or n.op.tight]

    def slot(self, name: str, op: Operation) -> None:
        self.calls.append((name, self.index[id(op)]))

    def parts(self, name: str, op: Operation) -> None:
        """A call that is shared out in parts of a slot, if it has some."""
        self.slot(name, op)
        if op.parts > 1:
            call = self.calls.pop()
            self.flush()
            self.stages.append(Stage(SLOTS * op.parts, [call], True))

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
        self.prepare_forward()
        for node in self.nodes:
            self.forward_of(node)
        self.finish_forward()
        self.flush()
        return self.stages

    def backward(self) -> list[Stage]:
        self.stages, self.calls = [], []
        self.left_behind: list[Node] = []
        self.prepare_backward()
        for node in reversed([n for n in self.nodes if n.op.dy is not None]):
            self.backward_of(node)
            if node.kind == "conv" or node.op.by_rows:
                self.left_behind.append(node)
        if self.begin.dx is not None:
            self.finish_backward()
        self.sum_complete_gradients()
        return self.stages

    def sum_complete_gradients(self) -> None:
        """Add up the private gradients of all layers that the backward pass has left behind."""
        self.flush()
        for node in self.nodes:
            if node in self.left_behind:
                self.sum_gradients(node)
        self.left_behind = []

    # --- what depends on what the lanes are -----------------------------------------------------

    def prepare_forward(self) -> None:
        raise NotImplementedError

    def forward_of(self, node: Node) -> None:
        raise NotImplementedError

    def finish_forward(self) -> None:
        raise NotImplementedError

    def prepare_backward(self) -> None:
        raise NotImplementedError

    def backward_of(self, node: Node) -> None:
        raise NotImplementedError

    def finish_backward(self) -> None:
        raise NotImplementedError

    def sum_gradients(self, node: Node) -> None:
        raise NotImplementedError


class SampleStages(Stages):
    """Plans with samples in the lanes."""

    def prepare_forward(self) -> None:
        self.slot("read_input", self.begin)

    def forward_of(self, node: Node) -> None:
        if node in self.pools_forward:
            return
        if node.pool:
            self.slot("conv_pool_forward", node.op)
        elif node.kind == "linear":
            self.blocks("linear_forward", node.op, node.y.shape[0], wait=True)
        elif node.kind == "batchnorm" and node.layer.training:
            self.slot("batchnorm_sums", node.op)
            self.flush()
            self.slot("batchnorm_forward", node.op)
        elif node.kind == "batchnorm":
            self.slot("batchnorm_eval", node.op)
        else:
            self.slot(f"{node.kind}_forward", node.op)

    def finish_forward(self) -> None:
        self.slot("write_output", self.end)

    def prepare_backward(self) -> None:
        self.slot("read_doutput", self.end)

    def backward_of(self, node: Node) -> None:
        if node in self.pools_backward:
            return
        if node.copied is not None:
            self.slot("copy_gradient", node.copied)
        if node.pool and node.op.dx is None:
            self.slot("conv_pool_backward_weight", node.op)
        elif node.kind == "linear":
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

    def finish_backward(self) -> None:
        self.slot("write_dinput", self.begin)

    def sum_gradients(self, node: Node) -> None:
        size = sum(p.size for p in node.layer.parameters())
        self.blocks("sum_partials", node.op, size, wait=False)
