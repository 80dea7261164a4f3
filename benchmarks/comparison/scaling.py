"""How minicnn's time grows with the batch and with the depth of a network: it should be linear."""

from typing import NamedTuple

from .modes import OURS
from .steps import Row, Settings, measure
from .tables import milliseconds
from .targets import LINEAR
from .tasks import Task, multiply_adds

BATCHES = [[Task(net, batch) for batch in (64, 256, 1024)] for net in ("lenet", "cifar")]
DEPTHS = [[Task(f"deep-{layers}", 64) for layers in (4, 8, 16)]]
QUICK = [[Task("lenet", 64), Task("lenet", 128)]]
HEADS = ["training step", "minicnn ms", "arithmetic", "time", "time / arithmetic", ""]


class Growth(NamedTuple):
    """A row against the first of its series."""

    row: Row
    arithmetic: float
    time: float

    @property
    def against_linear(self) -> float:
        return self.time / self.arithmetic

    def cells(self) -> list[str]:
        mark = "ok" if self.against_linear <= LINEAR else "short"
        if self.arithmetic == 1:
            mark = ""
        elif self.row.disturbed:
            mark = "?"
        return [
            self.row.task.name, milliseconds(self.row.median(OURS.name)),
            f"×{self.arithmetic:.2f}", f"×{self.time:.2f}", f"{self.against_linear:.2f}", mark,
        ]  # fmt: skip


def growth(rows: list[Row]) -> list[Growth]:
    """Each row's arithmetic and time, divided by those of the first."""
    first = rows[0]
    return [
        Growth(
            row,
            multiply_adds(row.task) / multiply_adds(first.task),
            row.median(OURS.name) / first.median(OURS.name),
        )
        for row in rows
    ]


def scaling(series: list[list[Task]], threads: int, settings: Settings) -> list[Growth]:
    """Every series in one run; no peers, so turns are long enough to see who else is busy."""
    alone = settings._replace(modes=[OURS.name], seconds=4 * settings.seconds)
    return [entry for tasks in series for entry in growth(measure(tasks, threads, alone))]
