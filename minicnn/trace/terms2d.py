"""The products behind one number of a convolution, a pool, or the loss; see `terms.py`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers import AvgPool2d, Conv2d, GlobalAvgPool2d, MaxPool2d
from ..layers.base import FloatArray
from ..layers.pool2d import WindowPool2d
from ..losses import CrossEntropyLoss
from .terms import Index, Rule, Term, explain, term

Pairs = list[tuple[int, int]]


def taps(out: int, length: int, size: int, stride: int, pad: int, dilation: int = 1) -> Pairs:
    """Along one axis: the (k, i) for which output `out` reads input i with weight k."""
    reads = [(k, out * stride - pad + k * dilation) for k in range(size)]
    return [(k, i) for k, i in reads if 0 <= i < length]


def uses(i: int, outputs: int, size: int, stride: int, pad: int, dilation: int = 1) -> Pairs:
    """Along one axis: the (k, out) for which output `out` reads input `i` with weight k."""
    found = [(k, i + pad - k * dilation) for k in range(size)]
    return [
        (k, at // stride) for k, at in found if at % stride == 0 and 0 <= at // stride < outputs
    ]


@explain.register
def _(layer: Conv2d, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    if of == "output":
        return conv2d_output(layer, index, x)
    if of == "input":
        return conv2d_input(layer, index, dy)
    samples, _, height, width = dy.shape
    if of == "bias":
        places = np.ndindex((samples, height, width))
        terms = [term(("dy", dy, (n, *index, oh, ow))) for n, oh, ow in places]
        return Rule("dbias[k] = Σ_n,oh,ow dy[n,k,oh,ow]", terms)
    stride_h, stride_w, top, left, dilation_h, dilation_w, groups = layer.geometry()
    k, c, r, s = index
    channel = k // (layer.out_channels // groups) * layer.weight.shape[1] + c
    rows = [(oh, oh * stride_h - top + r * dilation_h) for oh in range(height)]
    columns = [(ow, ow * stride_w - left + s * dilation_w) for ow in range(width)]
    terms = [
        term(("dy", dy, (n, k, oh, ow)), ("x", x, (n, channel, h, w)))
        for n in range(samples)
        for oh, h in rows
        for ow, w in columns
        if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]
    ]
    return Rule(
        "dweight[k,c,r,s] = Σ_n,oh,ow dy[n,k,oh,ow] · x[n,c,oh·stride+r,ow·stride+s]", terms
    )


def conv2d_output(layer: Conv2d, index: Index, x: FloatArray) -> Rule:
    stride_h, stride_w, top, left, dilation_h, dilation_w, groups = layer.geometry()
    n, k, oh, ow = index
    per_group = layer.weight.shape[1]
    first = k // (layer.out_channels // groups) * per_group
    rows = taps(oh, x.shape[2], layer.kernel_size[0], stride_h, top, dilation_h)
    columns = taps(ow, x.shape[3], layer.kernel_size[1], stride_w, left, dilation_w)
    terms = [
        term(("weight", layer.weight.data, (k, c, r, s)), ("x", x, (n, first + c, h, w)))
        for c in range(per_group)
        for r, h in rows
        for s, w in columns
    ]
    padded = math.prod(layer.weight.shape[1:]) - len(terms)
    if layer.bias:
        terms.append(term(("bias", layer.bias.data, (k,))))
    notes = (f"{padded} weights met padding, which counts as 0",) if padded else ()
    formula = "y[n,k,oh,ow] = Σ_c,r,s weight[k,c,r,s] · x[n,c,oh·stride+r,ow·stride+s] + bias[k]"
    return Rule(formula, terms, notes)


def conv2d_input(layer: Conv2d, index: Index, dy: FloatArray) -> Rule:
    stride_h, stride_w, top, left, dilation_h, dilation_w, groups = layer.geometry()
    n, channel, h, w = index
    group, c = divmod(channel, layer.weight.shape[1])
    outputs = layer.out_channels // groups
    rows = uses(h, dy.shape[2], layer.kernel_size[0], stride_h, top, dilation_h)
    columns = uses(w, dy.shape[3], layer.kernel_size[1], stride_w, left, dilation_w)
    terms = [
        term(("weight", layer.weight.data, (k, c, r, s)), ("dy", dy, (n, k, oh, ow)))
        for k in range(group * outputs, (group + 1) * outputs)
        for r, oh in rows
        for s, ow in columns
    ]
    return Rule(
        "dx[n,c,h,w] = Σ weight[k,c,r,s] · dy[n,k,oh,ow], over the outputs reading it", terms
    )


# --- pools ------------------------------------------------------------------------------------


def window(layer: WindowPool2d, index: Index, x: FloatArray) -> list[Index]:
    """The input places that one output of a pool reads."""
    n, c, *at = index
    rows, columns = (
        taps(at[a], x.shape[2 + a], layer.kernel_size[a], layer.stride[a], layer.padding[a])
        for a in (0, 1)
    )
    return [(n, c, h, w) for _, h in rows for _, w in columns]


def readers(layer: WindowPool2d, index: Index, dy: FloatArray) -> list[Index]:
    """The outputs of a pool that read one input place."""
    n, c, *at = index
    rows, columns = (
        uses(at[a], dy.shape[2 + a], layer.kernel_size[a], layer.stride[a], layer.padding[a])
        for a in (0, 1)
    )
    return sorted((n, c, oh, ow) for _, oh in rows for _, ow in columns)


@explain.register
def _(layer: MaxPool2d, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    if of == "output":
        terms = [term(("x", x, place)) for place in window(layer, index, x)]
        return Rule("y = the largest x of the window, the first of equal ones", terms, largest=True)
    won = [out for out in readers(layer, index, dy) if winner(layer, out, x) == index]
    notes = (f"it won {len(won)} of {len(readers(layer, index, dy))} windows",)
    terms = [term(("dy", dy, out)) for out in won]
    return Rule("dx = Σ dy of the windows in which this x is the largest", terms, notes)


def winner(layer: WindowPool2d, index: Index, x: FloatArray) -> Index:
    places = window(layer, index, x)
    return places[int(np.argmax([x[place] for place in places]))]  # the first; NaN wins


@explain.register
def _(layer: AvgPool2d, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    if of == "output":
        share = 1 / divisor(layer, index, x)
        terms = [term(("1/count", share), ("x", x, p)) for p in window(layer, index, x)]
        return Rule("y = Σ x / count, over the window", terms)
    terms = [
        term(("1/count", 1 / divisor(layer, out, x)), ("dy", dy, out))
        for out in readers(layer, index, dy)
    ]
    return Rule("dx = Σ dy / count, over the windows that read this x", terms)


def divisor(layer: AvgPool2d, index: Index, x: FloatArray) -> int:
    """How many places count: those of the padded image, or the real ones only."""
    if not layer.count_include_pad:
        return len(window(layer, index, x))
    sides = []
    for axis, out in enumerate(index[2:]):
        size, stride, pad = layer.kernel_size[axis], layer.stride[axis], layer.padding[axis]
        sides.append(min(size, x.shape[2 + axis] + 2 * pad - out * stride))
    return math.prod(sides)


@explain.register
def _(layer: GlobalAvgPool2d, of: str, index: Index, x: FloatArray, dy: FloatArray) -> Rule:
    share = ("1/(H·W)", 1 / math.prod(x.shape[2:]))
    n, c = index[:2]
    if of == "output":
        terms = [term(share, ("x", x, (n, c, h, w))) for h, w in np.ndindex(x.shape[2:])]
        return Rule("y[n,c] = Σ_h,w x[n,c,h,w] / (H·W)", terms)
    return Rule("dx[n,c,h,w] = dy[n,c] / (H·W)", [term(share, ("dy", dy, (n, c, 0, 0)))])


# --- the loss -----------------------------------------------------------------------------------


def explain_loss(loss_fn: Any, index: Index, logits: FloatArray, labels: NDArray[np.int64]) -> Rule:
    """The two terms behind one gradient that the loss hands to the last layer."""
    if not isinstance(loss_fn, CrossEntropyLoss):
        raise TypeError(f"{loss_fn!r} cannot be traced; only CrossEntropyLoss can")
    n, k = index
    kept = labels != loss_fn.ignore_index
    classes = logits.shape[1]
    weights = np.ones(classes) if loss_fn.weight is None else loss_fn.weight.astype(np.float64)
    formula = "dlogits[n,k] = (p[n,k] − target[n,k]) / N,  p = softmax(logits)"
    if not kept[n]:
        return Rule(formula, [], (f"label {labels[n]} is ignored",))
    row = np.exp(logits[n].astype(np.float64) - logits[n].max())
    probability = float(row[k] / row.sum())
    even = loss_fn.label_smoothing / classes
    target = even * weights
    target[labels[n]] += (1 - loss_fn.label_smoothing) * weights[labels[n]]
    total = float(weights[labels[kept]].sum())
    notes: tuple[str, ...] = (f"label of sample {n}: {labels[n]}",)
    if loss_fn.weight is not None or even:
        notes += ("class weights and label smoothing are in the targets, N is their total",)
    terms: list[Term] = [
        term(("Σ target / N", float(target.sum()) / total), ("p", probability)),
        term(("−1/N", -1 / total), ("target", float(target[k]))),
    ]
    return Rule(formula, terms, notes)
