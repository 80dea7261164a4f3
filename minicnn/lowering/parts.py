"""Dividing the work on one slot among threads: for predictions of fewer samples than threads.

A sum is computed by one thread as a whole, so the parts change no bits, and their number may depend
on that of the threads.
"""

import math

from ..engine import winograd
from .nodes import Node

WORTH = 2**15  # multiply-adds of a part that makes up for waiting for it
MOVED = 2**13  # values of a part of an operation that only moves or compares values
SPARE = 2  # parts for each thread: one that comes late has less to do
SPARE_OF_TILES = 1  # the same for Winograd's method, where each part fetches weights of its own
HEAVY = 4  # weights for each value of x, from which on outputs are shared out rather than tiles
LEAST_TILES = 6  # of a part of Winograd's method; fewer tiles share out the outputs


def is_divided(batch: int, threads: int) -> bool:
    """Whether whole samples would leave threads without work."""
    return batch < threads or (batch < 4 * threads and batch % threads > 0)


def divide(node: Node, threads: int) -> None:
    """Set the parts of the node's operation, in a plan for a batch that `is_divided`."""
    op = node.op
    op.group = 1
    if node.kind == "conv":
        most = node.layer.multiply_adds(node.x_shape) // WORTH
    elif node.kind in ("max_pool", "flatten"):
        most = math.prod(node.x.shape) // MOVED
    else:
        return
    spare = SPARE_OF_TILES if op.winograd else SPARE
    op.parts = max(1, min(most, spare * threads))
    if op.parts > threads:
        op.parts -= op.parts % threads
    if op.winograd:
        by_tiles = max(1, min(op.parts, op.winograd.tiles(*node.y.shape[1:]) // LEAST_TILES))
        panels = -(-winograd.vectors(op.outputs) // winograd.PANEL)
        if op.packed > HEAVY * math.prod(node.x.shape):
            by_tiles = min(by_tiles, -(-op.parts // panels))
        op.output_parts = max(1, min(op.parts // by_tiles, panels))
        op.parts = by_tiles * op.output_parts
