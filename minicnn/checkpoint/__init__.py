"""Model files and training states: written durably, read without trust.

`files.py` is the pair write/read; `header.py` checks the safetensors header before anything
is allocated; `durable.py` replaces a file whole or not at all.
"""

from .files import CheckpointError, check_entries, read, write

__all__ = ["CheckpointError", "check_entries", "read", "write"]
