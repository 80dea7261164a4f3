"""Where each map lies: memory is shared by maps that are never needed at the same time.

A map that only one stage touches belongs to the thread that works on the slot, so it stays in
that thread's caches; the others belong to the slot.
"""

from dataclasses import dataclass
from typing import Any

from ..engine.description import (
    LOCAL,
    SLOT,
    SLOTS,
    Buffer,
    Map,
    Memory,
    Operation,
    Stage,
    slot_distance,
)

# Kernels of the backward pass that look at x, besides those that are gated by it.
READ_X = (
    "conv_backward", "channel_conv_backward_weight", "channel_conv_backward_weight_of_all",
    "winograd_conv_backward_weight",
    "linear_backward_weight", "rows_backward_weight",
    "rows_backward_weight_by_outputs", "row_backward_weight", "relu_backward",
    "batchnorm_gradient_sums", "batchnorm_backward",
    "channel_batchnorm_gradient_sums", "channel_batchnorm_backward",
)  # fmt: skip
MANY = 2**31  # more than the calls of any stage
# Kernels that see no maps: weights, private gradients, and what a training step has besides.
NO_MAPS = (
    "channel_pack_forward", "channel_pack_backward", "channel_sum_partials",
    "winograd_pack_forward", "winograd_pack_backward", "winograd_sum_partials", "sum_partials",
    "row_sum_partials", "scale_bytes", "cross_entropy", "sum_losses", "square_gradients",
    "clip_factor", "update",
)  # fmt: skip


def touched(name: str, op: Operation) -> list[Map | None]:
    """What the kernel of that name reads or writes."""
    if name in NO_MAPS:
        return []
    if name == "channel_conv_pool_forward":
        return [op.x, op.pooled, op.bytes]
    if name == "channel_conv_pool_backward_weight":
        return [op.x, op.pooled, op.dpooled, op.bytes]
    if "backward" in name or "gradient" in name or name.startswith("read_d"):
        found: list[Map | None] = [op.dx, op.dy, op.bytes]
        if name in READ_X or (op.gate and name != "max_pool_backward"):
            found.append(op.x)
        return [*found, op.y] if op.gate and name == "max_pool_backward" else found
    return [op.x, op.y, op.bytes]


def place_buffers(
    memory: Memory, operations: list[Operation], stages: list[Stage]
) -> tuple[int, int]:
    """Give every buffer its place.

    Returns
    -------
    tuple of int
        Floats of a slot, and of a thread's own memory.
    """
    moments = Moments(stages)
    for number, stage in enumerate(stages):
        for i, (name, index) in enumerate(stage.calls):
            for used in touched(name, operations[index]):
                if used is not None:
                    used.buffer.used.append((number, i))
    slot, local = Regions(), Regions()
    for buffer in sorted(memory.buffers, key=lambda b: min(b.used, default=(-1, 0))):
        if not buffer.used or buffer.where not in (SLOT, LOCAL):
            continue
        number = buffer.used[0][0]
        own = all(n == number for n, _ in buffer.used) and stages[number].items == SLOTS
        buffer.where = LOCAL if own else SLOT
        if own:
            buffer.copies = slots_at_once(buffer, stages[number], operations)
        each = not own or all(operations[index].group == 1 for _, index in stages[number].calls)
        region = local if own else slot
        region.add(buffer, moments.first(buffer, each), moments.last(buffer, each))
    return slot_distance(slot.place()), slot_distance(local.place())


Moment = tuple[int, int]  # a phase, and a call in it


class Moments:
    """When buffers are in use. Stages that nobody waits between are one phase: side by side.

    A slot goes through the calls of a stage in their order; so does a thread's own memory, unless
    some call takes several slots at a time (`each` is False).
    """

    def __init__(self, stages: list[Stage]):
        self.phase: list[int] = []
        phase = 0
        for stage in stages:
            self.phase.append(phase)
            phase += stage.wait and stage.items != 0

    def first(self, buffer: Buffer, each: bool) -> Moment:
        number, call = min(buffer.used)
        return self.phase[number], call if each and self.is_alone(number) else 0

    def last(self, buffer: Buffer, each: bool) -> Moment:
        number, call = max(buffer.used)
        return self.phase[number], call if each and self.is_alone(number) else MANY

    def is_alone(self, number: int) -> bool:
        return self.phase.count(self.phase[number]) == 1


def slots_at_once(buffer: Buffer, stage: Stage, operations: list[Operation]) -> int:
    """For how many slots a stage needs this buffer before it goes on to others."""
    sizes = [operations[index].group for _, index in stage.calls]
    users = [
        i
        for i, (name, index) in enumerate(stage.calls)
        if any(m and m.buffer is buffer for m in touched(name, operations[index]))
    ]
    between = set(sizes[min(users) : max(users) + 1])
    return sizes[users[0]] if len(between) == 1 else max(sizes)


@dataclass
class Region:
    zeros: Any
    floats: int
    until: Moment  # the last one that needs what is in it
    buffers: list[Buffer]


class Regions:
    """Memory that buffers use one after the other."""

    def __init__(self) -> None:
        self.regions: list[Region] = []

    def add(self, buffer: Buffer, first: Moment, last: Moment) -> None:
        """Put a buffer, none of which is used before it, into the free region that fits best."""
        free = [r for r in self.regions if r.until < first and r.zeros == buffer.zeros]
        if not free:
            self.regions.append(Region(buffer.zeros, 0, (-1, 0), []))
            free = self.regions[-1:]
        best = min(free, key=lambda r: (abs(r.floats - buffer.floats), r.until))
        best.floats = max(best.floats, buffer.copies * buffer.floats)
        best.until = last
        best.buffers.append(buffer)

    def place(self) -> int:
        """Let the regions follow each other; returns the floats they need."""
        start = 0
        for region in self.regions:
            for buffer in region.buffers:
                buffer.start = start
            start += region.floats
        return start
