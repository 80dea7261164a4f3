"""The table that `Sequential.summary` returns."""

import math
from collections.abc import Mapping

from .arguments import size_text
from .layers import Layer
from .layers.base import Shape


class Table(str):
    """Text that an interpreter shows as it would be printed."""

    def __repr__(self) -> str:
        return str(self)


def summarize(leaves: Mapping[str, Layer], input_shape: Shape | None) -> Table:
    """One line a layer: output shape, parameters, multiply-adds of one sample.

    Shapes and multiply-adds stay open ('?') while the input's shape is not known.
    """
    rows = [("layer", "output", "parameters", "multiply-adds")]
    parameters = work = 0
    shape = input_shape
    for name, layer in leaves.items():
        own = sum(math.prod(s) for s in (layer.parameter_shapes() or {}).values())
        cost = layer.multiply_adds(shape) if shape else 0
        shape = layer.output_shape(shape) if shape else None
        output = size_text(shape) if shape else "?"
        rows.append((f"{name} {layer!r}", output, f"{own:,}", f"{cost:,}" if shape else "?"))
        parameters, work = parameters + own, work + cost
    rows.append(("total", "", f"{parameters:,}", f"{work:,}" if shape else "?"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "─" * len(lines[0])
    where = f"input {size_text(input_shape)}" if input_shape else "input shape not known yet"
    return Table("\n".join([where, lines[0], rule, *lines[1:-1], rule, lines[-1]]))
