"""Schedules: how the learning rate moves while training goes on.

A schedule is made after its optimizer, sets the first learning rate at once, and the next one
at each `step()`: after every epoch, or after every batch when its `interval` is "batch".
"""

from .base import Schedule, TimedSchedule
from .decay import CosineAnnealingLR, ExponentialLR, MultiStepLR, StepLR
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .warmup import LinearWarmup

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LinearWarmup",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "TimedSchedule",
]
