"""The order of a plan's work: which calls run beside each other, and who waits for whom."""

import math

from ..engine.description import SLOTS, Operation, Stage
from ..engine.plan import BLOCKS
from .nodes import Node


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


def training_step(forward: list[Stage], backward: list[Stage], parameters: int) -> list[Stage]:
    """Both passes, the loss between them and the update of all parameters as one run.

    The first stage and the third and second from the end have items when a batch needs them:
    images that come as bytes, and clipping. `lowering/step.pyx` knows these places.
    """
    *before, last = forward
    first, *after = backward
    end = first.calls[0][1]
    loss = [*last.calls, ("cross_entropy", end), *first.calls]
    blocks = -(-parameters // BLOCKS["update"])
    return [
        Stage(0, [("scale_bytes", end)], True),
        *before,
        Stage(SLOTS, loss, True),  # a sample's loss needs no other sample
        Stage(1, [("sum_losses", end)], False),
        *after[:-1],
        *(stage._replace(wait=True) for stage in after[-1:]),
        Stage(0, [("square_gradients", end)], True),
        Stage(0, [("clip_factor", end)], True),
        Stage(blocks, [("update", end)], True, whole=True),
    ]
