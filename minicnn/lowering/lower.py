"""A chain of layers as a plan for the engine: nodes, their memory, and the order of work."""

from collections.abc import Sequence
from typing import NamedTuple

from ..engine import LANES
from ..engine.description import Memory, Operation, Stage
from ..layers import Layer
from ..layers.base import Shape
from . import channels, samples
from .channel_stages import ChannelStages
from .lifetimes import place_buffers, place_private_gradients
from .nodes import Node, fold_batchnorms, join_pools, make_nodes, with_rows
from .parts import divide
from .renewal import renew_values
from .stages import SampleStages
from .whole_step import training_step, update_blocks


class Lowered(NamedTuple):
    """What `engine.Plan` takes, and the operations whose numbers change from run to run."""

    operations: list[Operation]
    forward: list[Stage]
    backward: list[Stage]
    step: list[Stage]
    slot_floats: int
    local_floats: int
    slot_samples: int
    partial_floats: int
    blocks: list[tuple[int, int]]
    nodes: list[Node]
    input_gradient: bool


def lower(
    layers: Sequence[Layer],
    input_shape: Shape,
    training: bool,
    across: str,
    input_gradient: bool = False,
    one_stage: bool = False,
    threads: int = 1,
) -> Lowered | None:
    """The plan of `layers` for samples of `input_shape`, or None when there is none.

    Parameters
    ----------
    layers : sequence of Layer
        With parameters, and known to fit each other and the input.
    training : bool
        Whether a backward pass will follow.
    across : {'samples', 'channels'}
        What lies side by side in a vector.
    input_gradient : bool
        Whether the backward pass hands out the gradient of the input.
    one_stage : bool
        For training steps only: each sample goes forward and backward before the next one. None
        where that is not for this net.
    threads : int
        Among how many the work on one slot is to be divided, in prediction.
    """
    nodes = make_nodes(layers, input_shape, training)
    if across == "channels":
        nodes = with_rows(nodes if training else fold_batchnorms(nodes))
        nodes = nodes if channels.suits(nodes) else []
    if not nodes:
        return None
    layout = channels if across == "channels" else samples
    memory = Memory()
    begin = layout.place_values(nodes, memory, training, input_gradient)
    for node in nodes:
        layout.fill(node, memory)
    if one_stage and not (across == "channels" and channels.suits_one_stage(nodes)):
        return None
    for node in join_pools(nodes, layout.can_join):
        layout.fill_joined(node)
    for node in nodes:
        node.op.by_rows = one_stage and node.kind == "linear"
    if across == "channels":
        for node in nodes:
            if threads > 1 and not training:
                divide(node, threads)
        if training and not one_stage:
            renew_values(nodes, begin, memory)
            channels.pack_over(nodes)
    end = Operation(y=nodes[-1].y.map, dy=nodes[-1].y.gradient, outputs=nodes[-1].y.shape[0])
    renewed = [op for n in nodes for _, op in (*n.renewed, *n.renewed_for_sums)]
    others = [op for n in nodes for op in (n.copied, n.back, n.summed) if op]
    copies = [*renewed, *others]
    operations = [*(node.op for node in nodes), *copies, begin, end]
    order = ChannelStages if across == "channels" else SampleStages
    stages = order(nodes, operations)
    forward = stages.forward()
    backward = stages.backward() if end.dy is not None else []
    blocks = update_blocks(layers)
    step = []
    if backward and blocks and not input_gradient:
        step = training_step(forward, backward, operations, len(blocks))
    if one_stage:
        forward, backward = [], []
    placed = step if one_stage else [*forward, *backward]
    slot_floats, local_floats = place_buffers(memory, operations, placed)
    private = [
        ([node.op, *([node.back] if node.back else [])], layout.partial_floats(node))
        for node in nodes if node.kind == "conv" or node.op.by_rows
    ]  # fmt: skip
    partial_floats = place_private_gradients(private, operations, placed)
    slot_samples = 1 if across == "channels" else LANES
    return Lowered(
        operations, forward, backward, step, slot_floats, local_floats, slot_samples,
        partial_floats, blocks, nodes, input_gradient,
    )  # fmt: skip
