"""Gradients against finite differences, layer by layer.

`check.py` walks through the model; `differences.py` measures slopes that float32 can carry;
`result.py` is the table.
"""

from .check import gradcheck
from .result import GradcheckResult, GradcheckRow

__all__ = ["GradcheckResult", "GradcheckRow", "gradcheck"]
