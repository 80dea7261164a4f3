"""Where each map lies: memory is shared by maps that are never needed at the same time.

A map that only one stage touches belongs to the thread that works on the slot, so it stays in
that thread's caches; the others belong to the slot.
"""

from typing import NamedTuple

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
    "strided_conv_backward_weight", "strided_conv_backward_weight_of_all",
    "linear_backward_weight", "rows_backward_weight",
    "rows_backward_weight_by_outputs", "row_backward_weight", "relu_backward",
    "batchnorm_gradient_sums", "batchnorm_backward",
    "channel_batchnorm_gradient_sums", "channel_batchnorm_backward",
)  # fmt: skip
PRIVATE = ("conv_backward", "backward_weight", "sum_partials")  # ends of those with such gradients
MANY = 2**31  # more than the calls of any stage
# Kernels that see no maps: weights, private gradients, and what a training step has besides.
NO_MAPS = (
    "channel_pack_forward", "channel_pack_backward", "channel_sum_partials",
    "winograd_pack_forward", "winograd_pack_backward", "winograd_sum_partials", "sum_partials",
    "strided_pack_forward", "strided_pack_backward",
    "row_sum_partials", "tight_pack_backward", "tight_sum_partials",
    "channel_batchnorm_combine", "channel_batchnorm_gradient_combine", "gather",
    "cross_entropy", "rows_cross_entropy", "sum_losses", "square_gradients", "clip_factor",
    "update",
)  # fmt: skip


def touched(name: str, op: Operation) -> list[Map | None]:
    """What the kernel of that name reads or writes."""
    if name in NO_MAPS:
        return []
    if name in ("channel_batchnorm_sums", "batchnorm_sums"):
        return [op.x]
    if name in ("channel_batchnorm_gradient_sums", "batchnorm_gradient_sums"):
        return [op.x, op.dy]
    if name == "row_cross_entropy":
        return [op.y, op.dy]
    if name.endswith("conv_pool_forward"):
        return [op.x, op.pooled, op.bytes]
    if name.endswith("conv_pool_backward_weight"):
        return [op.x, op.pooled, op.dpooled, op.bytes]
    if name == "tight_conv_backward":
        return [op.x, op.dx, op.pooled, op.dpooled, op.bytes]
    if "backward" in name or "gradient" in name or name.startswith(("read_d", "write_d")):
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


def place_private_gradients(
    layers: list[tuple[list[Operation], int]], operations: list[Operation], stages: list[Stage]
) -> int:
    """Give the private gradients of layers their places: until they are added up.

    Parameters
    ----------
    layers : list of (list of Operation, int)
        The operations that hold the place, and the floats that it needs.

    Returns
    -------
    int
        Floats of all private gradients of an item.
    """
    moments, regions = Moments(stages), Regions()
    index = {id(operation): i for i, operation in enumerate(operations)}
    buffers = [Buffer(floats) for _, floats in layers]
    for (own, _), buffer in zip(layers, buffers, strict=True):
        numbers = [index[id(operation)] for operation in own]
        buffer.used = [
            (number, i)
            for number, stage in enumerate(stages)
            for i, (name, at) in enumerate(stage.calls)
            if at in numbers and name.endswith(PRIVATE)
        ]
        if buffer.used and buffer.floats:
            regions.add(buffer, moments.first(buffer, False), moments.last(buffer, False))
    floats = regions.place()
    for (own, _), buffer in zip(layers, buffers, strict=True):
        for operation in own:
            operation.partial = buffer.start
    return floats


class Use(NamedTuple):
    """A buffer, and when it is in use."""

    buffer: Buffer
    first: Moment
    last: Moment

    @property
    def floats(self) -> int:
        return self.buffer.copies * self.buffer.floats

    def overlaps(self, other: "Use") -> bool:
        return self.first <= other.last and other.first <= self.last


class Regions:
    """Memory that buffers use one after the other."""

    def __init__(self) -> None:
        self.uses: list[Use] = []

    def add(self, buffer: Buffer, first: Moment, last: Moment) -> None:
        self.uses.append(Use(buffer, first, last))

    def place(self) -> int:
        """Give each buffer its start; returns the floats they need together."""
        end = self.place_bordered()
        placed: list[Use] = []
        plain = [use for use in self.uses if use.buffer.zeros is None]
        for use in sorted(plain, key=lambda use: -use.floats):
            start = end
            beside = (other for other in placed if use.overlaps(other))
            for other in sorted(beside, key=lambda other: other.buffer.start):
                if other.buffer.start - start >= use.floats:
                    break
                start = max(start, other.buffer.start + other.floats)
            use.buffer.start = start
            placed.append(use)
        return max((use.buffer.start + use.floats for use in placed), default=end)

    def place_bordered(self) -> int:
        """Borders are zeroed once, so only maps of the same kind follow each other in a place."""
        places: list[list[Use]] = []
        for use in self.uses:
            if use.buffer.zeros is None:
                continue
            free = (p for p in places if p[0].buffer.zeros == use.buffer.zeros)
            place = next((p for p in free if not any(map(use.overlaps, p))), None)
            if place is None:
                places.append([])
                place = places[-1]
            place.append(use)
        start = 0
        for place in places:
            for use in place:
                use.buffer.start = start
            start += max(use.floats for use in place)
        return start
