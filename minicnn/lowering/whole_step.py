"""A training step as one run: the stages of both passes, and what stands between and behind."""

from collections.abc import Sequence

from ..engine.description import SLOTS, Operation, Stage
from ..engine.plan import BLOCKS
from ..layers import Layer


def training_step(
    forward: list[Stage], backward: list[Stage], operations: list[Operation], blocks: int
) -> list[Stage]:
    """Both passes, the loss between them and the update of all parameters as one run.

    The first stage and the third and second from the end have items when a batch needs them:
    samples that must be gathered, and clipping. `lowering/step.pyx` knows these places, and how
    many items `rows_cross_entropy` has.
    """
    end = backward[0].calls[0][1]
    return [
        Stage(0, [("gather", end)], True),
        *with_loss(forward, backward, operations, end),
        Stage(0, [("square_gradients", end)], True),
        Stage(0, [("clip_factor", end)], True),
        Stage(blocks, [("update", end)], True, whole=True),
    ]


def update_blocks(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """What an item of the update takes of the parameters: the first one's number, and the end.

    A thread gets the same share of the items of every stage, and the gradients of the first half of
    a layer's outputs are in the caches of who takes the first half of the items. So those parts of
    all layers come first; layers that need no cutting are dealt out to both ends.
    """
    found: list[tuple[float, int, int]] = []
    start = small = 0
    for layer in layers:
        size = sum(parameter.size for parameter in layer.parameters())
        pairs = -(-size // (2 * BLOCKS["update"]))
        if 0 < size <= BLOCKS["update"]:
            found.append((small % 2, start, start + size))
            small += 1
        elif size:
            ends = [start + size * i // (2 * pairs) for i in range(2 * pairs + 1)]
            places = [(i + 0.5) / (2 * pairs) for i in range(2 * pairs)]
            found += zip(places, ends[:-1], ends[1:], strict=True)
        start += size
    return [(first, end) for _, first, end in sorted(found)]


def with_loss(
    forward: list[Stage], backward: list[Stage], operations: list[Operation], end: int
) -> list[Stage]:
    """Both passes with the loss between them.

    A sample's loss needs no other sample. So where each slot goes through all of its calls before
    the next one, the stages around the loss become one. (Where some kernel takes several slots
    at a time they must not: places for the maps were given out for the two by themselves.) Where
    nothing but the loss is left of them, its kernel takes a vector of samples at a time.
    """
    *before, last = forward
    first, *after = backward
    loss = ("cross_entropy", end)
    calls = [*last.calls, loss, *first.calls]
    if all(operations[index].group == 1 for _, index in calls):
        if last.calls[-1][0] == "write_row":  # one row a slot: no need to copy it out and back
            calls = [*last.calls[:-1], ("row_cross_entropy", end), *first.calls[1:]]
        middle = [Stage(SLOTS, calls, True)]
        if calls == [("row_cross_entropy", end)]:
            middle = [Stage(0, [("rows_cross_entropy", end)], True)]
    else:
        middle = [last, Stage(SLOTS, [loss], True), first]
    sums = Stage(1, [("sum_losses", end)], False)
    ending = [stage._replace(wait=True) for stage in after[-1:]]
    return [*before, *middle, sums, *after[:-1], *ending]
