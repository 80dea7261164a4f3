"""minicnn: train small image classifiers on an ordinary CPU.

`__all__` is the whole public API; `docs/` explains the rest. What every program needs is
imported at once, the rest on first use, so that `import minicnn` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .engine import set_engine, set_winograd
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
from .sequential import Sequential
from .threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from . import augment as augment
    from . import calibration as calibration
    from . import datasets as datasets
    from . import explain as explain
    from . import interop as interop
    from . import metrics as metrics
    from .checkpoint import CheckpointError as CheckpointError
    from .config import show_config as show_config
    from .data.errors import DataError as DataError
    from .gradient_check import gradcheck as gradcheck
    from .model_file import load as load
    from .schedulers import CosineAnnealingLR as CosineAnnealingLR
    from .schedulers import ExponentialLR as ExponentialLR
    from .schedulers import LinearWarmup as LinearWarmup
    from .schedulers import MultiStepLR as MultiStepLR
    from .schedulers import OneCycleLR as OneCycleLR
    from .schedulers import ReduceLROnPlateau as ReduceLROnPlateau
    from .schedulers import StepLR as StepLR
    from .training import History as History
    from .training.callbacks import EMA as EMA
    from .training.callbacks import Callback as Callback
    from .training.callbacks import Checkpoint as Checkpoint
    from .training.callbacks import CSVLog as CSVLog
    from .training.callbacks import DivergedError as DivergedError
    from .training.callbacks import EarlyStopping as EarlyStopping
    from .training.callbacks import StopOnNaN as StopOnNaN
    from .training.callbacks import TimeBudget as TimeBudget
    from .training.lr_finder import LRCurve as LRCurve
    from .training.lr_finder import lr_find as lr_find

__version__ = "0.1.0"

# Where the names live that are imported on first use; None: the name is a module itself.
_LATER = {
    "CSVLog": "training.callbacks",
    "Callback": "training.callbacks",
    "Checkpoint": "training.callbacks",
    "CheckpointError": "checkpoint",
    "CosineAnnealingLR": "schedulers",
    "DataError": "data.errors",
    "DivergedError": "training.callbacks",
    "EMA": "training.callbacks",
    "EarlyStopping": "training.callbacks",
    "ExponentialLR": "schedulers",
    "History": "training",
    "LRCurve": "training.lr_finder",
    "LinearWarmup": "schedulers",
    "MultiStepLR": "schedulers",
    "OneCycleLR": "schedulers",
    "ReduceLROnPlateau": "schedulers",
    "StepLR": "schedulers",
    "StopOnNaN": "training.callbacks",
    "TimeBudget": "training.callbacks",
    "augment": None,
    "calibration": None,
    "datasets": None,
    "explain": None,
    "gradcheck": "gradient_check",
    "interop": None,
    "load": "model_file",
    "lr_find": "training.lr_finder",
    "metrics": None,
    "show_config": "config",
}

__all__ = [
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Conv2d",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "DataError",
    "DivergedError",
    "Dropout",
    "Dropout2d",
    "EMA",
    "EarlyStopping",
    "ExponentialLR",
    "Flatten",
    "GELU",
    "GlobalAvgPool2d",
    "History",
    "Identity",
    "LRCurve",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LinearWarmup",
    "MaxPool2d",
    "MultiStepLR",
    "OneCycleLR",
    "Parameter",
    "ReLU",
    "ReduceLROnPlateau",
    "SGD",
    "Sequential",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "StepLR",
    "StopOnNaN",
    "Tanh",
    "TimeBudget",
    "__version__",
    "augment",
    "calibration",
    "clip_grad_norm",
    "datasets",
    "explain",
    "get_num_threads",
    "gradcheck",
    "inference",
    "interop",
    "load",
    "lr_find",
    "metrics",
    "set_engine",
    "set_num_threads",
    "set_winograd",
    "show_config",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'minicnn' has no attribute {name!r}")
    home = _LATER[name]
    if home is None:
        return import_module(f".{name}", __name__)
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
