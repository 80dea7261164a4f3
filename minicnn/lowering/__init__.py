"""From a chain of layers to passes through the engine; see docs/engine.md."""

from .passes import PassCache, Passes

__all__ = ["PassCache", "Passes"]
