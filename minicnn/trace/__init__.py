"""The products and the sum behind one number of a model.

`tracing.py` finds the place in the model; `terms.py` and `terms2d.py` hold each layer's rule.
"""

from .tracing import Trace, trace_chain

__all__ = ["Trace", "trace_chain"]
