"""Training steps that leave no trace: for measuring what a step takes, or what it does."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..interrupts import signals_deferred
from ..optim import Optimizer
from .plan import Model


@contextmanager
def rehearsal(model: Model, optimizer: Optimizer) -> Iterator[None]:
    """Inside, the model may be trained with this optimizer; then both are as they were.

    Put back, bit for bit and also after an error, are weights, gradients, statistics, the
    counters that decide what Dropout drops, the layers' modes, and the optimizer's state and
    hyper-parameters. The model must be built.
    """
    state, generators, training = model.state_dict(), model.generator_steps(), model.training
    modes = [(layer, layer.training) for layer in model.leaves().values()]
    gradients = [p.grad.copy() for p in model.parameters()]
    moments = optimizer.state_dict()
    try:
        yield
    finally:
        with signals_deferred():
            model.load_state_dict(state)
            model.load_generator_steps(generators)
            model.train(training)
            for layer, mode in modes:
                layer.train(mode)
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.grad[...] = gradient
            optimizer.load_state_dict(moments)
