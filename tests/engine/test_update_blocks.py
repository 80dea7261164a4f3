"""What items of the update take: all parameters once, in the order in which threads own them."""

import itertools

import pytest

import minicnn as mc
from minicnn.engine.plan import BLOCKS
from minicnn.lowering.whole_step import update_blocks

NETS = {
    "lenet": ((1, 28, 28), (
        mc.Conv2d(1, 6, 5, padding=2), mc.MaxPool2d(2), mc.Conv2d(6, 16, 5), mc.MaxPool2d(2),
        mc.Flatten(), mc.Linear(None, 120), mc.ReLU(), mc.Linear(120, 84), mc.Linear(84, 10),
    )),
    "tiny": ((3,), (mc.Linear(3, 2),)),
    "no bias, odd sizes": ((4099,), (mc.Linear(4099, 3, bias=False), mc.Linear(3, 2731))),
    "statistics": ((2, 9, 9), (mc.Conv2d(2, 40, 3), mc.BatchNorm2d(40), mc.Conv2d(40, 40, 3))),
}  # fmt: skip


@pytest.fixture(params=NETS)
def layers(request):
    shape, parts = NETS[request.param]
    return list(mc.Sequential(*parts, seed=0).build(shape).units().values())


def sizes(layers):
    return [sum(p.size for p in layer.parameters()) for layer in layers]


def test_every_parameter_is_in_one_block(layers):
    blocks = sorted(update_blocks(layers))
    assert blocks[0][0] == 0 and blocks[-1][1] == sum(sizes(layers))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(blocks))
    assert all(0 < end - first <= BLOCKS["update"] for first, end in blocks)


def test_first_half_of_the_blocks_is_the_first_half_of_each_large_layer(layers):
    blocks = update_blocks(layers)
    start = 0
    for size in sizes(layers):
        own = [i for i, (first, _) in enumerate(blocks) if start <= first < start + size]
        if size > BLOCKS["update"]:
            early = [i for i in own if blocks[i][1] <= start + size // 2]
            assert len(early) == len(own) / 2 and early == own[: len(early)]
            assert early[-1] <= len(blocks) / 2 <= own[len(early)] + 1
        start += size
