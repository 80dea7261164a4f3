"""Models of other programs, in and out: one module for each format."""

from .seed import load_seed_model

__all__ = ["load_seed_model"]
