"""Data: reading it, splitting it, handing it out in batches."""

from .batches import batches
from .dataset import Dataset, Splits
from .errors import DataError
from .sources import open_source
from .split import stratified_split

__all__ = [
    "DataError",
    "Dataset",
    "Splits",
    "batches",
    "open_source",
    "stratified_split",
]
