"""Models of other programs, in and out: one module for each format."""

from .plain import write_npz, write_safetensors
from .seed import load_seed_model
from .seed_export import save_seed_model

__all__ = ["load_seed_model", "save_seed_model", "write_npz", "write_safetensors"]
