"""From a chain of layers to passes through the engine; see docs/engine.md."""

from .cache import PassCache
from .passes import Passes
from .segments import Segments

__all__ = ["PassCache", "Passes", "Segments"]
