"""What `gradcheck` found, as a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradcheckRow:
    """One array's gradient: the largest relative error among the tested values, and where.

    The error is |claimed − slope| / max(|claimed|, |slope|, floor). The floor, a hundredth of
    the array's typical gradient or what rounding hides, keeps values that are zero but for
    rounding from counting. `verdict` is 'ok', 'WRONG' or 'unclear' (rounding hides it all).
    """

    layer: str
    name: str
    error: float
    index: tuple[int, ...] | None
    claimed: float
    slope: float
    kinks: int
    covered: float
    verdict: str


@dataclass(frozen=True)
class GradcheckResult:
    """All rows; print it for the table."""

    rows: tuple[GradcheckRow, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether no gradient is wrong."""
        return all(row.verdict != "WRONG" for row in self.rows)

    @property
    def wrong(self) -> list[GradcheckRow]:
        return [row for row in self.rows if row.verdict == "WRONG"]

    def __str__(self) -> str:
        head = (
            "layer",
            "gradient of",
            "rel. error",
            "at",
            "backward",
            "slope",
            "corners",
            "tested",
            "",
        )
        table = [head] + [_cells(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
            for cells in table
        ]
        count = len(self.wrong)
        last = "all gradients agree" if not count else f"{count} of {len(self.rows)} WRONG"
        return "\n".join([*lines, f"{last} (tolerance {self.tolerance:g})"])


def _cells(row: GradcheckRow) -> tuple[str, ...]:
    place = "-" if row.index is None else "[" + ", ".join(map(str, row.index)) + "]"
    numbers = (f"{row.claimed:.6g}", f"{row.slope:.6g}")
    kinks = str(row.kinks) if row.kinks else ""
    share = f"{row.covered:.0%}"
    return (row.layer, row.name, f"{row.error:.1e}", place, *numbers, kinks, share, row.verdict)
