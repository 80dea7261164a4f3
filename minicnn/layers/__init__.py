"""The layers, one file for each kind; `base.py` holds the contract they keep."""

from .activations import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from .base import Layer, Parameter, ShapeError
from .batchnorm import BatchNorm1d, BatchNorm2d
from .conv2d import Conv2d
from .dropout import Dropout, Dropout2d
from .linear import Linear
from .mode import inference
from .pool2d import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .reshape import Flatten, Identity

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Parameter",
    "ReLU",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "inference",
]
