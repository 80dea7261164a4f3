"""`gradcheck`: every layer's gradients against finite differences, as a table.

Each layer is held against its own forward pass: with random numbers w in the place of the
gradient from above, backward(w) must be the slope of Σ w · forward(x). So a wrong layer is
named and its neighbours are not, rounding comes from one layer alone, and parts of a gradient
that happen to be zero for these data are seen as well. The loss and the model as a whole are
checked with the real labels. `differences.py` says how the slopes are measured.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import as_labels
from ..layers import Layer
from ..layers.base import FloatArray
from ..losses import CrossEntropyLoss, Loss
from ..planned import PlannedChain
from .differences import EPSILON, NOISE, Float64Array, Probe, Search, rms
from .result import GradcheckResult, GradcheckRow

BLUR = 16 * EPSILON  # change of the last digits


def gradcheck(
    model: PlannedChain,
    x: Any,
    y: Any,
    loss_fn: Loss | None = None,
    *,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> GradcheckResult:
    """Compare every gradient of `model` with finite differences.

    It works on a copy, in the model's present mode: parameters, statistics and what Dropout
    drops next stay as they are. Cost grows with batch and model; eight samples are plenty.

    Parameters
    ----------
    x : (N, …) batch
    y : (N,) integers
    loss_fn : loss function
        CrossEntropyLoss() if left out.
    tolerance : float
        Largest relative error of a right gradient. The default is ten times and more what
        float32 makes of right gradients, and a fifth of an error of 5 %.
    seed : int
        Of the directions and the tested coordinates.

    Returns
    -------
    GradcheckResult
        `passed`, `rows`; its str is the table.

    Raises
    ------
    ValueError
        For a layer whose output is not a function of its input, parameters and attributes.
    """
    model = copy.deepcopy(model)
    loss_fn = copy.deepcopy(loss_fn or CrossEntropyLoss())
    generator = np.random.default_rng(seed)
    x = model.prepare(x)
    model.allocate()
    labels = as_labels(y, len(x))
    with np.errstate(all="ignore"):
        check = _Check(tolerance, generator)
        inputs, logits = _forward(model, x)
        whole = check.model(model, check.shaken(x), labels, loss_fn)
        rows = [
            row
            for (name, layer), given in zip(model.leaves().items(), inputs, strict=True)
            for row in check.layer(f"{name} {type(layer).__name__}", layer, given)
        ]
        rows.append(check.loss(loss_fn, logits, labels))
    return GradcheckResult((*rows, whole), tolerance)


class _Check:
    """The tests, with the tolerance and the generator that they share."""

    def __init__(self, tolerance: float, generator: np.random.Generator):
        self.tolerance = tolerance
        self.generator = generator

    def layer(self, title: str, layer: Layer, x: FloatArray) -> list[GradcheckRow]:
        """A row for the layer's input and each parameter."""
        x = self.shaken(x)
        for p in layer.parameters():
            p.data[...] = self.shaken(p.data, least=0.1)
        frozen = Frozen([layer])
        y = frozen.run(lambda: layer.forward(x.copy())).copy()
        if not np.array_equal(y, frozen.run(lambda: layer.forward(x.copy())), equal_nan=True):
            raise ValueError(
                f"layer {title}: forward gave two different outputs for the same input and state; "
                "let its random choices follow from attributes, as Dropout's do from seed and step"
            )
        w = self.generator.uniform(0.5, 1.5, y.shape) * self.generator.choice((-1, 1), y.shape)
        w64 = w.astype(np.float32).astype(np.float64).reshape(-1)

        def value(given: FloatArray) -> Float64Array:
            parts: Float64Array = w64 * frozen.run(lambda: layer.forward(given)).reshape(-1)
            return parts

        def gradients(blur: Callable[[Any], Any]) -> list[FloatArray]:
            for p in layer.parameters():
                p.grad.fill(np.nan)  # who adds to it, or leaves a part unwritten, is found out
            frozen.run(lambda: layer.forward(blur(x)))
            layer._saved = blur(layer._saved)
            dx = layer.backward(w.astype(np.float32))
            return [dx.copy(), *(p.grad.copy() for p in layer.parameters())]

        claims = gradients(copy.copy)
        # How much of the claims is rounding: what the last digits of all that they rest on do.
        blurs = [gradients(self.blurred) for _ in range(3)]
        noises = [
            4 * max(map(_spread, [claim] * 3, other))
            for claim, *other in zip(claims, *blurs, strict=True)
        ]
        rows = [self.array(title, "input", value, x, claims[0], rms(x) or 1.0, noises[0])]
        named = layer.named_parameters().items()
        for (name, p), claim, noise in zip(named, claims[1:], noises[1:], strict=True):
            start, put = p.data.copy(), _setter(p.data, lambda: value(x.copy()))
            scale = max(rms(start), 0.1)
            rows.append(self.array(title, name, put, start, claim, scale, noise))
            p.data[...] = start
        return rows

    def loss(self, loss_fn: Any, logits: FloatArray, labels: Any) -> GradcheckRow:
        loss_fn(logits, labels)
        claimed = loss_fn.backward()
        title = type(loss_fn).__name__
        scale = rms(logits) or 1.0
        noise = 4 * EPSILON / len(logits)  # of p − target, where both are near 1
        return self.array(
            title, "logits", lambda z: np.array([loss_fn(z, labels)]), logits, claimed, scale, noise
        )

    def model(self, model: PlannedChain, x: FloatArray, labels: Any, loss_fn: Any) -> GradcheckRow:
        """The loss along the gradient of each array in turn: are the layers chained rightly?"""
        frozen = Frozen(model.leaves().values())
        loss = frozen.run(lambda: loss_fn(model.forward_by_layers(x.copy()), labels))
        dx = model.backward(loss_fn.backward())
        arrays = {"input": (x, dx)}
        arrays |= {name: (p.data, p.grad.copy()) for name, p in model.named_parameters().items()}
        worst = GradcheckRow("whole model", "-", 0.0, None, loss, loss, 0, 1.0, "ok")
        sizes = {n: rms(g) * g.size**0.5 * (rms(a) or 1.0) for n, (a, g) in arrays.items()}

        def value() -> Float64Array:
            return np.array([frozen.run(lambda: loss_fn(model.forward_by_layers(x), labels))])

        for name, (array, gradient) in arrays.items():
            put = _setter(array, value)
            start = array.copy()
            row = self.along_gradient(name, put, start, gradient, 0.1 * max(sizes.values()))
            array[...] = start
            worst = max(worst, row, key=lambda r: r.error)
        return worst

    def along_gradient(
        self, name: str, value: Any, start: FloatArray, claimed: FloatArray, least: float
    ) -> GradcheckRow:
        if not np.isfinite(claimed).all() or not (length := rms(claimed)):
            error = 0.0 if np.isfinite(claimed).all() else np.inf
            return self.row("whole model", name, error, None, 0.0, 0.0)
        probe = Probe(value, start, claimed, rms(start) or 1.0, self.generator)
        direction = probe.claimed / (length * start.size**0.5)
        rise = length * start.size**0.5 * probe.scale
        unit = max(rise, least, NOISE * probe.noise / self.tolerance)
        everywhere = np.arange(start.size)
        allowed = self.tolerance * unit
        found = probe.deviation(everywhere, direction, 0.1 * allowed, 0.5 * allowed)
        # Many corners lie along this way, so what is right at any step is right; an error in the
        # chain is there at every step.
        error = found.least / unit
        numbers = (rise / probe.scale, (rise + found.error) / probe.scale)
        return self.row("whole model", name, error, None, *numbers)

    def row(
        self,
        title: str,
        name: str,
        error: float,
        index: tuple[int, ...] | None = None,
        claimed: float = np.nan,
        slope: float = np.nan,
        kinks: int = 0,
        covered: float = 1.0,
    ) -> GradcheckRow:
        verdict = "ok" if error <= self.tolerance else "WRONG"
        return GradcheckRow(title, name, error, index, claimed, slope, kinks, covered, verdict)

    def shaken(self, array: FloatArray, least: float = 0.0) -> FloatArray:
        """`array` moved a little, away from zero, so that zeros and ties (corners) are gone.

        Signs stay, for layers that take positive numbers only.
        """
        scale = max(rms(array), least) or 1.0
        sign = np.sign(array)
        zeros = self.generator.choice((-1.0, 1.0), array.shape) if array.min() < 0 else 1.0
        moved = np.abs(array) + 0.2 * scale * self.generator.uniform(0, 1, array.shape)
        return (np.where(sign == 0, zeros, sign) * moved).astype(np.float32)

    def blurred(self, value: Any) -> Any:
        """Float32 arrays, also in tuples, with their last digits changed; the rest as it is."""
        if isinstance(value, tuple):
            return tuple(map(self.blurred, value))
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            return value
        factors = self.generator.uniform(1 - BLUR, 1 + BLUR, value.shape)
        return (value * factors).astype(np.float32)

    def array(
        self,
        title: str,
        name: str,
        value: Callable[[FloatArray], Float64Array],
        start: FloatArray,
        claimed: FloatArray,
        scale: float,
        noise: float,
    ) -> GradcheckRow:
        """Some coordinates one by one, and all of them in groups."""
        if claimed.shape != start.shape or not np.isfinite(claimed).all():
            index = None
            if claimed.shape == start.shape:
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(claimed))[0])
            return self.row(title, name, np.inf, index)
        probe = Probe(value, start, claimed, scale, self.generator)
        search = Search(probe, self.tolerance, noise)
        search.everywhere(self.generator)
        error, flat, slope = search.worst
        index = tuple(int(i) for i in np.unravel_index(flat, start.shape))
        row = self.row(
            title, name, error, index, float(claimed[index]), slope, search.kinks, search.covered
        )
        return replace(row, verdict="unclear") if row.verdict == "ok" and search.hidden() else row


class Frozen:
    """Runs layers so that every run is the same: same statistics, same Dropout masks."""

    def __init__(self, layers: Iterable[Layer]):
        self.layers = list(layers)
        self.states = [
            (dict(vars(layer)), {k: v.copy() for k, v in layer.buffers().items()})
            for layer in self.layers
        ]

    def run(self, function: Callable[[], Any]) -> Any:
        for layer, (attributes, buffers) in zip(self.layers, self.states, strict=True):
            vars(layer).update(attributes)
            for name, array in layer.buffers().items():
                array[...] = buffers[name]
        return function()


def _spread(a: FloatArray, b: FloatArray) -> float:
    """The size of the differences, a few outliers (corners crossed) left out."""
    return float(np.quantile(np.abs(a - b), 0.99)) if a.shape == b.shape else 0.0


def _setter(
    array: FloatArray, function: Callable[[], Float64Array]
) -> Callable[[FloatArray], Float64Array]:
    """`function` of the value that is written into `array` first."""

    def value(given: FloatArray) -> Float64Array:
        array[...] = given
        return function()

    return value


def _forward(model: PlannedChain, x: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """Every layer's input (copies), and the logits."""
    inputs = []
    for layer in model.leaves().values():
        inputs.append(x.copy())
        x = layer.forward(x)
    return inputs, x
