"""The epoch loop and what belongs to it.

`plan.py` is what to train on and how; `loop.py` runs it; `callbacks/` listen; `history.py`
remembers; `resume.py` keeps the state that continues a run to the same bits; `rehearsal.py` makes
steps that leave no trace, from which `lr_finder.py` learns.
"""

from .callbacks import Callback
from .history import History
from .loop import fit
from .plan import Model, Plan, Run

__all__ = ["Callback", "History", "Model", "Plan", "Run", "fit"]
