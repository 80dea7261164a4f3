"""What lies side by side in a vector: samples or channels.

Samples fill the lanes whatever the number of channels, but only LANES of them at a time; channels
fill them for any batch, but only where there are many. The choice is a count of vector
multiply-adds. It depends on shapes alone, never on the number of threads, since the two add in
different orders.
"""

import math

from ..engine import LANES
from ..engine.winograd import DENSE, STRIDED
from .channels import planes, suits, suits_tight
from .nodes import Node, convolution, windows_side_by_side
from .winograd import winograd_method

ACROSS: str | None = None  # one of the two for every plan, instead of the better one
CACHE = 2**18  # floats of a slot's largest map that leave the second-level cache to others
CROWDED = 2.0  # what a map beyond that costs, as a factor
FEWER = {DENSE: 0.5, STRIDED: 0.8}  # what the Winograd kernels leave of a convolution's cost
WINNERS = 0.5 if LANES == 8 else 1.0  # and of its gradients' cost by windows' winners alone
ALONE = 2.0  # one slot keeps one thread busy; here there are usually two


def best_lanes(nodes: list[Node], batch: int, training: bool) -> str:
    """'samples' or 'channels', whichever needs fewer operations for such a batch.

    In prediction it is the same for every batch, so that the answer for a sample does not depend
    on the others.
    """
    if not nodes or not suits(nodes):
        return "samples"
    if not training:
        return "channels"
    slots = -(-batch // LANES)
    firsts = [node is nodes[0] for node in nodes]
    afters = [*nodes[1:], None]
    samples = slots * sum(map(samples_cost, nodes, firsts)) * (ALONE if slots == 1 else 1.0)
    largest = max(math.prod(node.y.shape) * LANES for node in nodes)
    if largest > CACHE:
        samples *= CROWDED
    channels = batch * sum(map(channels_cost, nodes, firsts, afters))
    return "channels" if channels <= samples else "samples"


def samples_cost(node: Node, first: bool) -> float:
    """Vector operations of a slot, forward and backward; the first layer needs no dx."""
    if node.kind == "conv":
        return float((2 if first else 3) * node.layer.multiply_adds(node.x_shape))
    if node.kind == "linear":
        return (2.0 if first else 3.0) * math.prod(node.x_shape) * node.y.shape[0]
    return 4.0 * math.prod(node.x.shape)


def has_winners(node: Node, after: Node) -> bool:
    """Whether a convolution's gradients come from the winners of the windows behind it."""
    pooled = after.kind == "max_pool" and windows_side_by_side(after)
    return pooled and suits_tight(node, after)


def channels_cost(node: Node, first: bool, after: Node | None) -> float:
    """Vector operations of a sample, forward and backward; `after`: who reads what it makes."""
    inputs, outputs = node.x.shape[0], node.y.shape[0]
    if node.kind == "conv":
        area = math.prod(node.y.shape[1:]) * math.prod(convolution(node).kernel)
        forward = float(area * inputs * planes(outputs))
        gradients = forward if first else forward + area * planes(inputs) * outputs
        method = winograd_method(node, training=True, after=after)
        if method is not None:
            return (forward + gradients) * FEWER[method]
        if not first and after is not None and has_winners(node, after):
            gradients *= WINNERS
        return forward + gradients
    if node.kind == "linear":
        return (2.0 if first else 3.0) * planes(math.prod(node.x_shape)) * outputs
    return 4.0 * planes(inputs) * math.prod(node.x.shape[1:])
