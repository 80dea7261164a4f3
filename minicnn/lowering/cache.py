"""The plans of a model, and the decision who makes a training step: the engine or the layers."""

from __future__ import annotations

import operator
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import as_indices, gather
from ..engine import engine_enabled, winograd_enabled
from ..layers import BatchNorm1d, BatchNorm2d, Layer
from ..layers.base import FloatArray
from ..layers.mode import in_inference, inference
from ..losses import CrossEntropyLoss, Loss
from ..optim import SGD, Adam, AdamW, Optimizer
from ..threads import get_num_threads
from . import choice
from .lower import lower
from .nodes import make_nodes, settings
from .parts import is_divided
from .passes import LARGEST, Passes, plan_bytes
from .prediction import Prediction
from .step import PreparedSteps, TrainingStep, is_overridden

KEPT = 6  # plans of the same layers: training and prediction, of some shapes
KEPT_STEPS = 64  # shapes of batches


class PassCache:
    """The passes of one model; they are made when first needed, and the oldest are dropped.

    So are its training steps and its predictions, each for one shape of batch.
    """

    def __init__(self) -> None:
        self.made: dict[Any, Passes | None] = {}
        self.lock = threading.Lock()
        self.running = threading.Lock()  # held during passes and steps
        self.steps = PreparedSteps()
        self.predictions: dict[Any, Prediction] = {}
        self.lanes: dict[Any, str] = {}

    def __reduce__(self) -> tuple[type[PassCache], tuple[()]]:
        return PassCache, ()  # copies and pickles of a model start without plans

    def find(
        self,
        layers: list[Layer],
        values: FloatArray,
        x: FloatArray,
        input_gradient: bool = False,
        one_stage: bool = False,
    ) -> Passes | None:
        """The passes for a batch like `x`, or None when the layers must do it themselves.

        Parameters
        ----------
        layers : list of Layer
            Neighbours in the chain, or all of its layers.
        values : (P,) float32
            All parameters of the chain.
        input_gradient : bool
            Whether `backward` is to return the gradient of x.
        one_stage : bool
            What `lower` calls so: a plan for whole training steps, if there is one.
        """
        if not engine_enabled():
            return None
        training = not in_inference()
        shape = x.shape[1:]
        kinds = tuple(map(settings, layers))
        parameters = [p.data for layer in layers for p in layer.parameters()]
        if None in kinds or not all(map(is_plain, parameters)):
            return None
        across = self.lanes_for(layers, (shape, training, len(x) if training else 0, *kinds))
        threads = get_num_threads()
        if training or not is_divided(len(x), threads):
            threads = 1
        input_gradient = input_gradient and training
        which, addresses = tuple(map(id, layers)), tuple(map(id, parameters))
        kind = (shape, training, across, input_gradient, one_stage, threads, winograd_enabled())
        key = (which, *kind, id(values), addresses, *kinds)
        with self.lock:
            if key not in self.made:
                like = [other for other in self.made if other[0] == which]
                for oldest in like[: len(like) - KEPT + 1]:
                    del self.made[oldest]
                    self.steps.clear()  # they hold plans, too
                    self.predictions.clear()
                lowered = lower(layers, shape, training, across, input_gradient, one_stage, threads)
                if lowered and plan_bytes(lowered, 1) <= LARGEST:
                    self.made[key] = Passes(layers, shape, training, lowered, self.running)
                else:
                    self.made[key] = None
            found = self.made[key]
        if found is None or not found.fits(len(x)) or (training and lacks_variance(found, x)):
            return None
        return found

    def lanes_for(self, layers: list[Layer], case: tuple[Any, ...]) -> str:
        """What `best_lanes` says of a (shape, training, batch, …), asked once for each."""
        if choice.ACROSS:
            return choice.ACROSS
        if case not in self.lanes:
            shape, training, batch = case[:3]
            nodes = make_nodes(layers, shape, training)
            if len(self.lanes) >= KEPT_STEPS:
                self.lanes.clear()
            self.lanes[case] = choice.best_lanes(nodes, batch, training)
        return self.lanes[case]

    # --- training steps -----------------------------------------------------------------------

    def train_step(
        self, model: Any, x: Any, y: Any, loss_fn: Loss, optimizer: Optimizer,
        clip_norm: float | None, indices: Any,
    ) -> tuple[float, int] | None:  # fmt: skip
        """A step as one native call: (loss, number of correct samples).

        Parameters
        ----------
        model : Sequential
        x, y, loss_fn, optimizer, clip_norm, indices
            As in `Sequential.train_step`.

        Returns
        -------
        None where the passes and the optimizer have to be called one by one: for other losses,
        labels and optimizers than `step.pyx` knows, or a model without a plan. Nothing has moved
        then.
        """
        shape = getattr(x, "shape", None)
        if indices is not None:
            shape = (*indices.shape[:1], *x.shape[1:])
        step = self.steps.get(shape)
        if step is None or not step.serves(optimizer):
            like = x if indices is None else gather(x, as_indices(indices, len(x)))
            step = self.prepare(model, like, loss_fn, optimizer)
        return None if step is None else step.run(x, y, loss_fn, clip_norm, indices)

    def prepare(
        self, model: Any, x: Any, loss_fn: Loss, optimizer: Optimizer
    ) -> TrainingStep | None:
        """A new training step, if there can be one."""
        known = type(loss_fn) is CrossEntropyLoss and type(optimizer) in (SGD, Adam, AdamW)
        if not known or is_overridden(optimizer) or in_inference() or not engine_enabled():
            return None
        x = model.prepare(x)
        if not moves_all(optimizer, model.flat_parameters, model.flat_gradients):
            return None
        if model.has_own_passes():
            return None
        layers = list(model.units().values())
        values = model.flat_parameters
        passes = self.find(layers, values, x, one_stage=True) or self.find(layers, values, x)
        if passes is None or len(passes.output_shape) != 1:
            return None
        chains = inner_chains(model, {id(layer) for layer in layers})
        if len(self.steps) >= KEPT_STEPS:
            self.steps.clear()
        step = TrainingStep(chains, layers, passes, optimizer, x.shape, self.running)
        self.steps[x.shape] = step
        return step

    # --- prediction ---------------------------------------------------------------------------

    def answer(self, model: Any, x: Any, batch_size: Any) -> FloatArray | None:
        """What `Sequential.logits` returns; None where layers must answer, or complain."""
        if type(x) is not np.ndarray:
            x = np.asarray(x)
        prediction = self.predictions.get(x.shape)
        if prediction is None or not prediction.serves():
            prediction = self.prepare_prediction(model, x)
        if prediction is None or operator.index(batch_size) < 1:
            return None
        return prediction.run(x)

    def prepare_prediction(self, model: Any, x: NDArray[Any]) -> Prediction | None:
        """A new prediction, if there can be one."""
        if not engine_enabled() or x.ndim < 2 or not x.size:
            return None
        try:
            model.prepare(x[:1])
        except (TypeError, ValueError):
            return None
        if model.has_own_passes():
            return None
        layers = list(model.units().values())
        with inference():
            passes = self.find(layers, model.flat_parameters, x)
        if passes is None:
            return None
        chains = inner_chains(model, {id(layer) for layer in layers})
        if len(self.predictions) >= KEPT_STEPS:
            self.predictions.clear()
        prediction = Prediction(chains, layers, model.parameters(), passes, x.shape, self.running)
        self.predictions[x.shape] = prediction
        return prediction


def moves_all(optimizer: Optimizer, values: FloatArray, gradients: FloatArray) -> bool:
    """Whether the optimizer's parameters are all of the model's, in their order, and no others."""
    if len(optimizer.segments) != 1:
        return False
    segment = optimizer.segments[0]
    return same_memory(segment.data, values) and same_memory(segment.grad, gradients)


def is_plain(array: Any) -> bool:
    """Whether a plan can read and write it in place; users may have put another one there."""
    return (
        type(array) is np.ndarray and array.dtype == np.float32 and array.dtype.isnative
        and array.flags.c_contiguous and array.flags.aligned
    )  # fmt: skip


def same_memory(a: FloatArray, b: FloatArray) -> bool:
    return a.ctypes.data == b.ctypes.data and a.size == b.size


def inner_chains(model: Any, leaves: set[int]) -> list[Any]:
    """The model, and the chains among its layers at any depth."""
    found = [model]
    for layer in model.layers:
        if id(layer) not in leaves:
            found += inner_chains(layer, leaves)
    return found


def lacks_variance(passes: Passes, x: FloatArray) -> bool:
    """Whether a BatchNorm might see one value a channel; then the layer itself complains."""
    batchnorm = (BatchNorm1d, BatchNorm2d)
    return len(x) < 2 and any(
        isinstance(layer, batchnorm) and layer.training for _, layer in passes.varying
    )
