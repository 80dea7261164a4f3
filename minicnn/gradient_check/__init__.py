"""Gradients against finite differences, layer by layer.

`check.py` walks through the model; `differences.py` measures slopes that float32 can carry.
"""

from .check import GradcheckResult, GradcheckRow, gradcheck

__all__ = ["GradcheckResult", "GradcheckRow", "gradcheck"]
