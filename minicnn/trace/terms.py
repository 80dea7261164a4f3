"""The products behind one number of a layer: what `Sequential.trace` shows.

`explain(layer, of, index, x, dy)` writes one output value, or one gradient, as the sum it is,
straight from the layer's formula and in plain Python: slow, and independent of the kernels.
The formulas of Conv2d and the pools are in `terms2d.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from ..layers import GELU, Dropout, Flatten, Identity, LeakyReLU, Linear, ReLU, Sigmoid, SiLU, Tanh
from ..layers.base import FloatArray, Layer
from ..layers.batchnorm import BatchNorm

Index = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """A number and where it stands: ('weight', (1, 0), 0.25)."""

    name: str
    index: Index | None
    value: float

    def __str__(self) -> str:
        if self.index is None:
            return self.name
        return f"{self.name}[{', '.join(map(str, self.index))}]"


@dataclass(frozen=True)
class Term:
    """A product of one or more factors."""

    factors: tuple[Factor, ...]

    @property
    def product(self) -> float:
        return math.prod(f.value for f in self.factors)


@dataclass(frozen=True)
class Rule:
    """A formula, and the terms it sums up (or, with `largest`, takes the largest of)."""

    formula: str
    terms: list[Term]
    notes: tuple[str, ...] = ()
    largest: bool = False


def term(*factors: tuple[str, Any, Index] | tuple[str, float]) -> Term:
    """A term of (name, array, index) and (name, value) factors."""
    return Term(tuple(
        Factor(f[0], tuple(f[2]), float(f[1][f[2]])) if len(f) == 3 else Factor(f[0], None, f[1])
        for f in factors
    ))  # fmt: skip


@singledispatch
def explain(layer: Layer, of: str, index: Index, x: FloatArray, dy: FloatArray | None) -> Rule:
    """The rule behind one number of `layer`.

    Parameters
    ----------
    of : 'output', 'input' (the gradient handed back) or a parameter's name (its gradient)
    index : position in that array
    x : the layer's input
    dy : the gradient of its output; None for of='output'

    Raises
    ------
    TypeError
        For a layer without a rule. A layer of your own gives one by defining
        `trace_rule(of, index, x, dy) -> Rule`.
    """
    if hasattr(layer, "trace_rule"):
        rule: Rule = layer.trace_rule(of, index, x, dy)
        return rule
    raise TypeError(
        f"{layer!r} does not say how its numbers come about; to trace it, define "
        "trace_rule(of, index, x, dy) in its class (see docs/adding_a_layer.md)"
    )


@explain.register
def _(layer: Linear, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    weight = layer.weight.data
    inputs = list(np.ndindex(x.shape[1:]))  # i counts a feature map in (C, H, W) order
    if of == "output":
        n, k = index
        terms = [term(("weight", weight, (k, i)), ("x", x, (n, *p))) for i, p in enumerate(inputs)]
        if layer.bias:
            terms.append(term(("bias", layer.bias.data, (k,))))
        return Rule("y[n,k] = Σ_i weight[k,i] · x[n,i] + bias[k]", terms)
    if of == "weight":
        k, i = index
        terms = [term(("dy", dy, (n, k)), ("x", x, (n, *inputs[i]))) for n in range(len(x))]
        return Rule("dweight[k,i] = Σ_n dy[n,k] · x[n,i]", terms)
    if of == "bias":
        return Rule(
            "dbias[k] = Σ_n dy[n,k]", [term(("dy", dy, (n, *index))) for n in range(len(x))]
        )
    i = int(np.ravel_multi_index(index[1:], x.shape[1:]))
    terms = [
        term(("weight", weight, (k, i)), ("dy", dy, (index[0], k))) for k in range(len(weight))
    ]
    return Rule("dx[n,i] = Σ_k weight[k,i] · dy[n,k]", terms)


@explain.register
def _(layer: BatchNorm, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    c = index[1] if of in ("output", "input") else index[0]
    channel = x[:, c].astype(np.float64)
    mean, var = channel.mean(), channel.var()
    if not layer.training:
        mean, var = float(layer.running_mean[c]), float(layer.running_var[c])
    inv_std = 1 / math.sqrt(var + layer.eps)
    source = f"of the batch, {channel.size} values" if layer.training else "running statistics"
    notes = (f"mean = {mean:.7g}, var = {var:.7g} ({source}); inv_std = 1/√(var + eps)",)
    scale = (("weight", layer.weight.data, (c,)), ("inv_std", inv_std))
    if of == "output":
        terms = [
            term(*scale, (f"(x{list(index)} − mean)", float(x[index]) - mean)),
            term(("bias", layer.bias.data, (c,))),
        ]
        return Rule("y = weight[c] · inv_std · (x − mean) + bias[c]", terms, notes)
    places = [(p[0], c, *p[1:]) for p in np.ndindex((len(x), *x.shape[2:]))]
    if of == "bias":
        return Rule("dbias[c] = Σ dy", [term(("dy", dy, p)) for p in places])
    if of == "weight":
        terms = [term(("dy", dy, p), ("x_hat", (float(x[p]) - mean) * inv_std)) for p in places]
        return Rule("dweight[c] = Σ dy · x_hat,  x_hat = (x − mean) · inv_std", terms, notes)
    terms = [term(*scale, ("dy", dy, index))]
    if not layer.training:
        return Rule("dx = weight[c] · inv_std · dy", terms, notes)
    dys = dy[:, c].astype(np.float64)
    x_hat = (channel - mean) * inv_std
    own = (float(x[index]) - mean) * inv_std
    terms.append(term(*scale, ("−mean(dy)", -dys.mean())))
    terms.append(term(*scale, ("x_hat", own), ("−mean(dy·x_hat)", -(dys * x_hat).mean())))
    return Rule(
        "dx = weight[c] · inv_std · (dy − mean(dy) − x_hat · mean(dy · x_hat))", terms, notes
    )


@explain.register
def _(layer: Flatten, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    if of == "output":
        source = (index[0], *map(int, np.unravel_index(index[1], x.shape[1:])))
        return Rule("y[n,i] = x[n,c,h,w],  i = (c·H + h)·W + w", [term(("x", x, source))])
    target = (index[0], int(np.ravel_multi_index(index[1:], x.shape[1:])))
    return Rule("dx[n,c,h,w] = dy[n,i],  i = (c·H + h)·W + w", [term(("dy", dy, target))])


@explain.register
def _(layer: Identity, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    if of == "output":
        return Rule("y = x", [term(("x", x, index))])
    return Rule("dx = dy", [term(("dy", dy, index))])


@explain.register
def _(layer: Dropout, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    source, array, formula = ("x", x, "y = keep/(1 − p) · x")
    if of == "input":
        source, array, formula = ("dy", dy, "dx = keep/(1 − p) · dy")
    mask, shape = layer.saved()
    if mask is None:
        note = "evaluation mode: nothing falls and nothing is scaled"
        return Rule(formula, [term((source, array, index))], (note,))
    choice = int(np.ravel_multi_index(index, shape)) // (x.size // mask.size)
    if not mask.flat[choice]:
        return Rule(formula, [], ("keep = 0: this value was dropped",))
    return Rule(formula, [term(("keep/(1 − p)", 1 / (1 - layer.p)), (source, array, index))])


@explain.register(ReLU)
@explain.register(LeakyReLU)
def _(layer: Any, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    slope = layer.negative_slope if isinstance(layer, LeakyReLU) else 0.0
    name = "negative_slope" if isinstance(layer, LeakyReLU) else "0"
    source, array = ("x", x) if of == "output" else ("dy", dy)
    formula = f"{'y' if of == 'output' else 'dx'} = ({source} where x > 0, else {name} · {source})"
    value = float(x[index])
    if not value <= 0:  # NaN passes, as in the kernel
        return Rule(formula, [term((source, array, index))], (f"x = {value:.7g} is positive",))
    note = (f"x = {value:.7g} is not positive",)
    return Rule(formula, [term((name, slope), (source, array, index))] if slope else [], note)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def _phi(x: float) -> float:
    """Distribution function of the normal distribution."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _silu_slope(x: float) -> float:
    return _sigmoid(x) * (1 + x * (1 - _sigmoid(x)))


def _gelu_slope(x: float) -> float:
    return _phi(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gate(x: float) -> float:
    """What GELU('tanh') has in place of Φ; equal to ½(1 + tanh u)."""
    return _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _gelu_tanh_slope(x: float) -> float:
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return _gate(x) + 2 * x * _gate(x) * (1 - _gate(x)) * du


# y = gate(x) · x, or y = gate(x); name of the gate, gate, whether x multiplies it, dy/dx
_Curve = tuple[str, Callable[[float], float], bool, str, Callable[[float], float]]
_CURVES: dict[Any, _Curve] = {
    Sigmoid: ("σ(x)", _sigmoid, False, "σ(x)(1 − σ(x))", lambda x: _sigmoid(x) * _sigmoid(-x)),
    Tanh: ("tanh(x)", math.tanh, False, "1 − tanh²(x)", lambda x: 1 - math.tanh(x) ** 2),
    SiLU: ("σ(x)", _sigmoid, True, "σ(x)(1 + x(1 − σ(x)))", _silu_slope),
    "none": ("Φ(x)", _phi, True, "Φ(x) + x·φ(x)", _gelu_slope),
    "tanh": ("½(1 + tanh u)", _gate, True, "(½·x·(1 + tanh u))′", _gelu_tanh_slope),
}


@explain.register(Sigmoid)
@explain.register(Tanh)
@explain.register(SiLU)
@explain.register(GELU)
def _(layer: Any, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    curve = _CURVES[layer.approximate if isinstance(layer, GELU) else type(layer)]
    name, gate, times_x, slope_name, slope = curve
    value = float(x[index])
    notes: tuple[str, ...] = (f"x{list(index)} = {value:.7g}",)
    if name.endswith("u)"):
        notes += ("u = √(2/π) · (x + 0.044715·x³)",)
    if of == "input":
        formula = f"dx = {slope_name} · dy"
        return Rule(formula, [term((slope_name, slope(value)), ("dy", dy, index))], notes)
    if times_x:
        return Rule(f"y = {name} · x", [term((name, gate(value)), ("x", x, index))], notes)
    return Rule(f"y = {name}", [term((name, gate(value)))], notes)
