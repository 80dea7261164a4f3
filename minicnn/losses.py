"""Losses: a number that says how wrong the logits are, and its gradient."""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .arguments import real_number, whole_number
from .arrays import as_float32, as_targets
from .kernels import softmax_cross_entropy as kernel
from .layers.base import FloatArray
from .layers.mode import in_inference
from .threads import get_num_threads


class Loss(Protocol):
    """A loss function, like CrossEntropyLoss."""

    def __call__(self, logits: FloatArray, labels: NDArray[Any]) -> float:
        """The loss of a batch, remembered for `backward`."""

    def backward(self) -> FloatArray:
        """The gradient of the last loss with respect to its logits."""

    def hyper_parameters(self) -> dict[str, Any]:
        """The constructor's arguments by name, as plain data."""


class CrossEntropyLoss:
    """Softmax followed by the negative log-likelihood of the labels, as one operation.

    With p = softmax(logits), class weights w, smoothing ε and the sums over the samples whose
    label y is not `ignore_index`:

        loss = Σ [−(1 − ε) w[y] log p[y]  −  ε/K Σ_k w[k] log p[k]] / Σ w[y]

    It is the mean over the samples when there are no class weights. log p comes from
    log-sum-exp, so logits of any finite size are fine. When every label is ignored the loss is
    0/0 = NaN and so is what training makes of it, as in PyTorch.

    Labels may also be shares t of the classes, as MixUp and CutMix make them. Then, as in PyTorch,

        loss = 1/N Σ_n Σ_k w[k] t'[n, k] (−log p[n, k]),    t' = (1 − ε) t + ε/K

    and the mean is over all N samples, also with class weights.

    Parameters
    ----------
    weight : array of K numbers or None
        Weight of each class, finite and not negative; copied.
    ignore_index : int
        Samples with this label count for nothing. It may also be the index of a class.
    label_smoothing : float in [0, 1]
        Share ε of the target that is spread evenly over all classes.

    Raises
    ------
    TypeError, ValueError
        For an argument of a wrong type, shape or value.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016),
    section 7 (label smoothing).
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        self.weight = None if weight is None else _class_weights(weight)
        self.ignore_index = whole_number(ignore_index, "ignore_index", -(2**63), 2**63 - 1)
        self.label_smoothing = real_number(label_smoothing, "label_smoothing", maximum=1.0)
        self._saved: tuple[FloatArray, NDArray[Any], float] | None = None

    def __call__(self, logits: Any, labels: Any) -> float:
        """The loss of a batch.

        Parameters
        ----------
        logits : (N, K) float32
            Other floats are converted.
        labels : (N,) integers, or (N, K) floats
            Each in [0, K), or `ignore_index`; or shares of the classes, a row for each sample.

        Raises
        ------
        TypeError, ValueError
            When the two do not fit each other or the class weights, or a label is out of range.
        """
        logits = as_float32(logits)
        self._check_logits(logits)
        labels = as_targets(labels, len(logits))
        probabilities = np.empty_like(logits)
        if labels.ndim == 2:
            return self._soft(logits, labels, probabilities)
        loss, weight_sum = kernel.softmax_cross_entropy_forward(
            logits,
            labels,
            self.weight,
            self.ignore_index,
            self.label_smoothing,
            probabilities,
            get_num_threads(),
        )
        if not in_inference():
            # Labels may be the caller's own array, which a loader may fill anew: keep a copy.
            self._saved = probabilities, labels.copy(), weight_sum
        return float(loss)

    def backward(self) -> FloatArray:
        """Gradient of the last loss with respect to its logits: a new (N, K) float32 array.

        Raises
        ------
        RuntimeError
            When no loss was computed before, or only inside `inference()`.
        """
        if self._saved is None:
            raise RuntimeError(
                "CrossEntropyLoss.backward was called before any loss was computed; call "
                "loss_fn(logits, labels) first, outside inference(), which remembers nothing"
            )
        probabilities, labels, weight_sum = self._saved
        dlogits = np.empty_like(probabilities)
        if labels.ndim == 2:
            kernel.soft_cross_entropy_backward(
                probabilities, labels, self.weight, self.label_smoothing, dlogits,
                get_num_threads(),
            )  # fmt: skip
            return dlogits
        kernel.softmax_cross_entropy_backward(
            probabilities,
            labels,
            self.weight,
            self.ignore_index,
            self.label_smoothing,
            weight_sum,
            dlogits,
            get_num_threads(),
        )
        return dlogits

    def hyper_parameters(self) -> dict[str, Any]:
        """The constructor's arguments by name, as plain numbers and lists."""
        return {
            "weight": None if self.weight is None else self.weight.tolist(),
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
        }

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.hyper_parameters().items())
        return f"CrossEntropyLoss({arguments})"

    def _soft(self, logits: FloatArray, targets: FloatArray, probabilities: FloatArray) -> float:
        """The loss of targets that are shares of the classes."""
        loss = kernel.soft_cross_entropy_forward(
            logits, targets, self.weight, self.label_smoothing, probabilities, get_num_threads()
        )
        if not in_inference():
            self._saved = probabilities, targets.copy(), float(len(logits))
        return float(loss)

    def _check_logits(self, logits: FloatArray) -> None:
        if logits.ndim != 2 or not logits.size:
            raise ValueError(
                f"the logits have shape {logits.shape}; expected (N, K), one score for each "
                "class a sample, with at least one of each"
            )
        if self.weight is not None and len(self.weight) != logits.shape[1]:
            raise ValueError(
                f"there are {len(self.weight)} class weights for {logits.shape[1]} classes; "
                "expected one each"
            )


def _class_weights(weight: Any) -> FloatArray:
    """A float32 copy of K finite weights, none of them negative."""
    given = np.asarray(weight)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"weight has dtype {given.dtype}; expected numbers, one for each class")
    if given.ndim != 1 or not given.size:
        raise ValueError(f"weight has shape {given.shape}; expected (K,), one for each class")
    with np.errstate(over="ignore"):
        weights = given.astype(np.float32)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(
            f"weight[{k}] is {given[k]}; expected a number in [0, {math.inf}) that float32 holds"
        )
    return weights
