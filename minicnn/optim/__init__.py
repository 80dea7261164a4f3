"""Optimizers: how a step moves the parameters along their gradients."""

from .adam import Adam, AdamW
from .base import Optimizer
from .clip import clip_grad_norm
from .ownership import check_owner
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "check_owner", "clip_grad_norm"]
