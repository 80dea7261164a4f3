"""Optimizers: how a step moves the parameters along their gradients."""

from .adam import Adam, AdamW
from .base import Optimizer
from .clip import clip_grad_norm
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm"]
