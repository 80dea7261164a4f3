"""A training step as one run: the stages of both passes, and what stands between and behind."""

from ..engine.description import SLOTS, Operation, Stage
from ..engine.plan import BLOCKS


def training_step(
    forward: list[Stage], backward: list[Stage], operations: list[Operation], parameters: int
) -> list[Stage]:
    """Both passes, the loss between them and the update of all parameters as one run.

    The first stage and the third and second from the end have items when a batch needs them:
    images that come as bytes, and clipping. `lowering/step.pyx` knows these places.
    """
    end = backward[0].calls[0][1]
    blocks = -(-parameters // BLOCKS["update"])
    return [
        Stage(0, [("scale_bytes", end)], True),
        *with_loss(forward, backward, operations, end),
        Stage(0, [("square_gradients", end)], True),
        Stage(0, [("clip_factor", end)], True),
        Stage(blocks, [("update", end)], True, whole=True),
    ]


def with_loss(
    forward: list[Stage], backward: list[Stage], operations: list[Operation], end: int
) -> list[Stage]:
    """Both passes with the loss between them.

    A sample's loss needs no other sample. So where each slot goes through all of its calls before
    the next one, the stages around the loss become one. (Where some kernel takes several slots
    at a time they must not: places for the maps were given out for the two by themselves.)
    """
    *before, last = forward
    first, *after = backward
    loss = ("cross_entropy", end)
    calls = [*last.calls, loss, *first.calls]
    if all(operations[index].group == 1 for _, index in calls):
        if last.calls[-1][0] == "write_row":  # one row a slot: no need to copy it out and back
            calls = [*last.calls[:-1], ("row_cross_entropy", end), *first.calls[1:]]
        middle = [Stage(SLOTS, calls, True)]
    else:
        middle = [last, Stage(SLOTS, [loss], True), first]
    sums = Stage(1, [("sum_losses", end)], False)
    ending = [stage._replace(wait=True) for stage in after[-1:]]
    return [*before, *middle, sums, *after[:-1], *ending]
