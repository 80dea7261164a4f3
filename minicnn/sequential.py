"""The model: a chain of layers that trains and predicts.

Rooms that not every program needs (training, files, tables, traces) are imported where they are
used, so that `import minicnn` stays quick.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrays import as_labels, check_images, choose
from .calibration import divided_softmax
from .data.batches import batches
from .kernels.softmax_cross_entropy import count_correct
from .layers import Layer, inference
from .layers.base import FloatArray
from .losses import CrossEntropyLoss, Loss
from .optim import Optimizer
from .planned import PlannedChain
from .steps import step_by_calls

if TYPE_CHECKING:
    from .schedulers import Schedule
    from .summary import Table
    from .trace import Trace
    from .training import Callback, History


class Sequential(PlannedChain):
    """Layers applied one after the other.

    Parameters
    ----------
    *layers : Layer
        Sequentials may be among them. Each layer object can stand in one place only.
    seed : int
        Decides the starting weights and what Dropout drops: a layer's numbers are a function
        of this seed and its position. Layers that have weights already keep them.

    Attributes
    ----------
    layers : list of Layer
    input_shape : tuple or None
        Shape of one sample, once known.
    classes : list of str or None
        Names of the classes, if somebody set them; saved with the model.
    preprocessing : dict
        What turns a picture into the model's input; plain data, saved with the model.
    temperature : float
        What `predict_proba` divides the logits by (`mc.calibration`); saved with the model.
    """

    def __init__(self, *layers: Layer, seed: int = 0):
        super().__init__(*layers, seed=seed)
        self.classes: list[str] | None = None
        self.preprocessing: dict[str, Any] = {}
        self.temperature = 1.0

    # --- training ----------------------------------------------------------------------------

    def train_step(
        self,
        x: Any,
        y: Any,
        loss_fn: Loss,
        optimizer: Optimizer,
        clip_norm: float | None = None,
        *,
        indices: Any = None,
    ) -> float:
        """One step of training on one batch: forward, loss, backward, clip, update.

        Parameters
        ----------
        x : (N, …) float32, or uint8 (scaled to 0…1)
        y : (N,) integers, or (N, K) shares of the classes
        clip_norm : float or None
            Scales the gradients down where their global norm is larger (Pascanu et al. 2013).
        indices : (n,) integers in 0 … N-1, or None
            The batch is x[indices] and y[indices], which the step gathers itself: by the threads
            that then work on them, so faster than by NumPy before. None: all of x and y.

        Returns
        -------
        float
            The batch's loss, before the update. When it is NaN or infinite the parameters
            are left as they are, and so are BatchNorm's statistics and the optimizer.

        Raises
        ------
        ValueError
            When the optimizer moves another model's parameters, or the data do not fit.
        """
        return self.train_and_count(x, y, loss_fn, optimizer, clip_norm, indices=indices)[0]

    def train_and_count(
        self,
        x: Any,
        y: Any,
        loss_fn: Loss,
        optimizer: Optimizer,
        clip_norm: float | None = None,
        *,
        indices: Any = None,
    ) -> tuple[float, int]:
        """`train_step` that also tells how many samples were classified correctly."""
        if indices is None and self._passes is not None:  # the short way, for small nets
            if made := self._passes.steps.run(x, y, loss_fn, optimizer, clip_norm):
                return made
        if indices is not None:
            x, indices = np.asarray(x), np.asarray(indices)
            check_images(x)
        made = self.pass_cache.train_step(self, x, y, loss_fn, optimizer, clip_norm, indices)
        if made is not None:
            return made
        if indices is not None:
            x, y = choose(x, y, indices)
        return step_by_calls(self, x, y, loss_fn, optimizer, clip_norm)

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 32,
        *,
        optimizer: Optimizer,
        loss: Loss | None = None,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        augment: Any = None,
        state_file: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> History:
        """Train for `epochs` passes over (x, y).

        Parameters
        ----------
        x : (N, …) float32, or uint8 (scaled batch by batch)
        y : (N,) integers
        optimizer : Optimizer
            Made from this model's `parameters()`.
        loss : loss function
            CrossEntropyLoss() if left out.
        validation_data : (x, y) or None
            Evaluated after every epoch.
        callbacks : sequence of Callback
            Early stopping, checkpoints, logs. `StopOnNaN` is always among them.
        schedule : learning-rate schedule or None
            Stepped after every epoch or every batch, as its `interval` says.
        clip_norm : float or None
            Largest global norm of the gradients.
        seed : int
            With the epoch's number, decides the order of the samples.
        drop_last : bool
            Leave out the last batch of an epoch when it is smaller than the others.
        augment : mc.augment.Compose or one of its transforms, "none", "light", "strong", or None
            Random changes to the training images, by `seed`, epoch and sample.
        state_file : path or None
            Where to write, before the first epoch and after each, all that is needed to resume.
        resume : bool
            Go on from `state_file`, to the same bits as if never interrupted. The other
            arguments must be as before; only `epochs` may be larger.

        Returns
        -------
        History
            A row per epoch: loss, accuracy, val_loss, val_accuracy, lr, seconds.

        Raises
        ------
        DivergedError, CheckpointError
            A loss or weight is NaN or infinite; `state_file` is damaged or of another run.
        """
        from . import training

        plan = training.Plan(
            x, y, epochs, batch_size, optimizer, loss or CrossEntropyLoss(),
            validation_data, schedule, clip_norm, shuffle, seed, drop_last, augment,
        )  # fmt: skip
        return training.fit(self, plan, callbacks, state_file=state_file, resume=resume)

    # --- answers ------------------------------------------------------------------------------

    def evaluate(
        self, x: Any, y: Any, batch_size: int = 256, *, loss: Loss | None = None
    ) -> dict[str, float]:
        """{"loss": …, "accuracy": share classified correctly}, in evaluation mode.

        Both are taken over all samples at once, so `batch_size` changes memory and speed only.
        """
        logits = self.logits(x, batch_size)
        labels = as_labels(y, len(logits))
        with inference():
            loss_value = (loss or CrossEntropyLoss())(logits, labels)
        return {"loss": loss_value, "accuracy": count_correct(logits, labels) / len(labels)}

    def logits(self, x: Any, batch_size: int = 256) -> FloatArray:
        """The last layer's output for every sample, in evaluation mode: (N, K) float32."""
        answer = self.pass_cache.answer(self, x, batch_size)
        if answer is not None:
            return answer
        with inference():
            rows = [self.forward(images) for images, _ in batches(x, None, batch_size)]
        if not rows:
            raise ValueError("there is nothing to predict: x holds no samples")
        return np.concatenate(rows)

    def class_scores(self, x: Any, batch_size: int) -> FloatArray:
        """`logits`, or a ValueError where they are feature maps and no classes' scores."""
        logits = self.logits(x, batch_size)
        if logits.ndim != 2:
            raise ValueError(
                f"the model's output has shape {logits.shape}; expected (N, K), one score for "
                "each class a sample; let the model end with Linear"
            )
        return logits

    def predict(self, x: Any, batch_size: int = 256) -> NDArray[np.int64]:
        """The index of the most likely class of every sample: (N,) int64."""
        return np.asarray(self.class_scores(x, batch_size).argmax(axis=1), np.int64)

    def predict_proba(
        self, x: Any, batch_size: int = 256, *, temperature: float | None = None
    ) -> FloatArray:
        """(N, K) float32, rows sum to 1: softmax(logits / `temperature`, or else the model's)."""
        chosen = self.temperature if temperature is None else temperature
        return divided_softmax(self.class_scores(x, batch_size), chosen)

    # --- looking inside -----------------------------------------------------------------------

    def summary(self, input_shape: Iterable[int] | None = None) -> Table:
        """A table of the layers: output shape, parameters, multiply-adds of one sample.

        Builds the model for `input_shape` if it is given. Print it, or let the interpreter
        show it.
        """
        from .summary import summarize

        if input_shape is not None:
            self.build(input_shape)
        return summarize(self.leaves(), self.input_shape)

    def trace(
        self,
        x: Any,
        layer: int | str,
        index: tuple[int, ...],
        of: str = "output",
        y: Any = None,
        loss_fn: Loss | None = None,
    ) -> Trace:
        """The products and the sum behind one output value of a layer, or one gradient.

        With labels `y`, `of` may be 'input' or a parameter's name ('weight'): the gradient of
        that. See `minicnn.trace.trace_chain`.
        """
        from .trace import trace_chain

        return trace_chain(self, x, layer, index, of, y, loss_fn)

    def hyper_parameters(self) -> dict[str, Any]:
        from .architecture import describe

        return {"layers": [describe(layer) for layer in self.layers]}

    def __repr__(self) -> str:
        return "Sequential(" + ", ".join(map(repr, self.layers)) + ")"

    # --- files -----------------------------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """Everything but the arrays that makes this model, as JSON-able data."""
        return {
            "architecture": self.hyper_parameters()["layers"],
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "seed": self.seed,
            "classes": self.classes,
            "preprocessing": self.preprocessing,
            **({} if self.temperature == 1 else {"temperature": self.temperature}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model.safetensors: the state dict and, as data, the architecture.

        The write is atomic and durable: a crash leaves the old file or the new one.
        """
        from . import checkpoint

        checkpoint.write(path, self.state_dict(), self.metadata())
