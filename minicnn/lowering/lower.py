"""A chain of layers as a plan for the engine: nodes, their memory, and the order of work."""

from collections.abc import Sequence
from typing import NamedTuple

from ..engine.description import Memory, Operation, Stage
from ..layers import Layer
from ..layers.base import Shape
from .memory import fill, place_values
from .nodes import Node, make_nodes
from .stages import Stages, training_step


class Lowered(NamedTuple):
    """What `engine.Plan` takes, and the operations whose numbers change from run to run."""

    operations: list[Operation]
    forward: list[Stage]
    backward: list[Stage]
    step: list[Stage]
    slot_floats: int
    partial_floats: int
    nodes: list[Node]


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
    parameters = sum(p.size for layer in layers for p in layer.parameters())
    step = training_step(forward, backward, parameters) if backward and parameters else []
    return Lowered(operations, forward, backward, step, memory.slot_floats, partial_floats, nodes)
