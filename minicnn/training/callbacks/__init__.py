"""Callbacks: what accompanies a training."""

from .base import Callback
from .best import Checkpoint, EarlyStopping
from .csv_log import CSVLog
from .ema import EMA
from .stop_on_nan import DivergedError, StopOnNaN
from .time_budget import TimeBudget

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "DivergedError",
    "EMA",
    "EarlyStopping",
    "StopOnNaN",
    "TimeBudget",
]
