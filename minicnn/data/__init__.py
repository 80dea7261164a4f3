"""Data: reading it, splitting it, handing it out in batches."""

from .arrays import as_images, as_labels
from .batches import batches
from .dataset import Dataset, Splits
from .errors import DataError
from .sources import open_source
from .split import stratified_split

__all__ = [
    "DataError",
    "Dataset",
    "Splits",
    "as_images",
    "as_labels",
    "batches",
    "open_source",
    "stratified_split",
]
