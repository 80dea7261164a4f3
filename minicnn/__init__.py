"""minicnn: train small image classifiers on an ordinary CPU.

The names below are the whole public API; `docs/` explains the rest.
"""

from . import datasets
from .callbacks import Callback, Checkpoint, CSVLog, DivergedError, EarlyStopping, StopOnNaN
from .checkpoint import CheckpointError
from .gradcheck import gradcheck
from .history import History
from .layers import (
    GELU,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Parameter,
    ReLU,
    ShapeError,
    Sigmoid,
    SiLU,
    Tanh,
    inference,
)
from .losses import CrossEntropyLoss
from .optim import SGD, Adam, AdamW, clip_grad_norm
from .sequential import Sequential, load
from .threads import get_num_threads, set_num_threads

__version__ = "0.1.0"
