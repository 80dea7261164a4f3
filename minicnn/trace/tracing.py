"""`Sequential.trace`: the products and the sum behind one number of a model."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import as_labels
from ..layers import Layer
from ..layers.base import FloatArray
from ..losses import CrossEntropyLoss
from ..planned import PlannedChain
from . import terms2d
from .terms import Index, Rule, Term, explain

SHOWN = 30  # terms that a printed trace shows at most


@dataclass(frozen=True)
class Trace:
    """One number, the terms it is the sum of, and the value that the layer really computed.

    Attributes
    ----------
    where : str
        The layer, as 'layer 7 Linear(400, 120)'.
    name : str
        What is traced: 'y' (output), 'dx', 'dweight', …
    index : tuple of int
        Its place in that array.
    rule : Rule
        Formula, terms, remarks.
    computed : float
        The float32 value from the layer itself.
    """

    where: str
    name: str
    index: Index
    rule: Rule
    computed: float

    @property
    def terms(self) -> list[Term]:
        """Every term; each has `factors` (name, index, value) and their `product`."""
        return self.rule.terms

    @property
    def total(self) -> float:
        """The terms summed in float64 (for a max-pool: the largest)."""
        products = [t.product for t in self.terms]
        return float(np.max(products)) if self.rule.largest else math.fsum(products)

    def __str__(self) -> str:
        verb = "largest" if self.rule.largest else "sum"
        place = ", ".join(map(str, self.index))
        head = [f"{self.where}: {self.name}[{place}]", f"  {self.rule.formula}"]
        head += [f"  {note}" for note in self.rule.notes]
        shown = self.terms if len(self.terms) <= SHOWN else self.terms[: SHOWN - 2]
        table = _rows(shown)
        if len(shown) < len(self.terms):
            hidden = self.terms[len(shown) :]
            about = "" if self.rule.largest else f", together {_sum(hidden):.7g}"
            table.append(f"  … {len(hidden):,} more terms{about}; all of them in .terms")
        tail = [
            f"  {verb} of {len(self.terms):,} term{'s' * (len(self.terms) != 1)}: {self.total:.7g}",
            f"  computed by the layer: {self.computed:.7g}",
        ]
        return "\n".join(head + table + tail)


def _sum(terms: list[Term]) -> float:
    return math.fsum(t.product for t in terms)


def _rows(terms: list[Term]) -> list[str]:
    """One line a term: names, then values, then the product, in columns."""
    names = [" · ".join(str(f) for f in t.factors) for t in terms]
    values = [" · ".join(f"{f.value + 0.0:.6g}" for f in t.factors) for t in terms]
    left, right = (max(map(len, column), default=0) for column in (names, values))
    return [
        f"    {name:<{left}} = {value:<{right}} = {t.product + 0.0:.6g}"
        for name, value, t in zip(names, values, terms, strict=True)
    ]


def trace_chain(
    model: PlannedChain,
    x: Any,
    layer: int | str,
    index: Index,
    of: str = "output",
    y: Any = None,
    loss_fn: Any = None,
) -> Trace:
    """The products and the sum behind one number.

    The model is run on a copy of itself in its present mode, so nothing of it changes.

    Parameters
    ----------
    x : (N, …) batch for the model
    layer : int or str
        Position, dotted for layers of a Sequential inside ('2.0'); 'loss' for the gradient
        that the loss hands back.
    index : tuple of int
        Place of the number, including the sample: (0, 3) is output 3 of the first sample.
    of : str
        'output': a value of the layer's output. 'input': the gradient with respect to its
        input. A parameter's name ('weight'): the gradient of that parameter.
    y : (N,) integers
        Labels; needed for gradients.
    loss_fn : loss function
        CrossEntropyLoss() if left out.

    Raises
    ------
    ValueError
        For a layer, an index or an `of` that does not exist, and gradients without labels.
    TypeError
        For a layer that has no rule (see `terms.explain`).
    """
    model = copy.deepcopy(model)
    name = str(layer)
    if name == "loss":
        return _trace_loss(model, x, index, y, loss_fn)
    chosen = _find(model, name)
    arrays = _run(model, chosen, x, None if of == "output" else _labels_for(of, y, x), loss_fn)
    array = _look_up(arrays, of, chosen, name)
    index = _checked_index(index, array, f"layer {name} {chosen!r}: {of}")
    rule = explain(chosen, of, index, arrays["x"], arrays.get("dy"))
    title = {"output": "y", "input": "dx"}.get(of, f"d{of}")
    return Trace(f"layer {name} {chosen!r}", title, index, rule, float(array[index]))


def _find(model: PlannedChain, name: str) -> Layer:
    leaves = model.units()
    if name not in leaves:
        raise ValueError(f"layer is {name!r}; expected one of {', '.join(leaves)} or 'loss'")
    return leaves[name]


def _labels_for(of: str, y: Any, x: Any) -> Any:
    if y is None:
        raise ValueError(f"of={of!r} traces a gradient, which needs a loss; give the labels as y=")
    return as_labels(y, len(x))


def _run(
    model: PlannedChain, chosen: Layer, x: Any, labels: Any, loss_fn: Any
) -> dict[str, FloatArray]:
    """Input and output of `chosen` and, with labels, its gradients."""
    x = model.prepare(x)
    model.allocate()
    arrays: dict[str, FloatArray] = {}
    for layer in model.units().values():
        given = layer.prepare(x).copy() if layer is chosen else x
        x = layer.forward(x)
        if layer is chosen:
            arrays = {"x": given, "output": x.copy()}
            if labels is None:
                return arrays
    loss_fn = copy.deepcopy(loss_fn or CrossEntropyLoss())
    loss_fn(x, labels)
    dy = loss_fn.backward()
    for layer in reversed(model.units().values()):
        dx = layer.backward(dy)
        if layer is chosen:
            gradients = {f"d{name}": p.grad for name, p in layer.named_parameters().items()}
            return arrays | {"dy": dy, "input": dx} | gradients
        dy = dx
    raise AssertionError("the layer is not in the model")


def _look_up(arrays: dict[str, FloatArray], of: str, layer: Layer, name: str) -> FloatArray:
    found = arrays.get(of if of in ("output", "input") else f"d{of}")
    if found is None:
        expected = ["output", "input", *layer.named_parameters()]
        raise ValueError(f"layer {name} {layer!r}: of is {of!r}; expected one of {expected}")
    return found


def _checked_index(index: Any, array: FloatArray, what: str) -> Index:
    index = tuple(index) if isinstance(index, tuple | list) else (index,)
    fits = len(index) == array.ndim and all(
        isinstance(i, int | np.integer) and 0 <= i < size
        for i, size in zip(index, array.shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{what} has shape {array.shape}; index {index} is no place in it")
    return tuple(int(i) for i in index)


def _trace_loss(model: PlannedChain, x: Any, index: Any, y: Any, loss_fn: Any) -> Trace:
    labels = _labels_for("loss", y, x)
    logits = model.forward_by_layers(x)
    loss_fn = copy.deepcopy(loss_fn or CrossEntropyLoss())
    loss_fn(logits, labels)
    dlogits = loss_fn.backward()
    index = _checked_index(index, dlogits, f"the gradient of {loss_fn!r}")
    rule = terms2d.explain_loss(loss_fn, index, logits, labels)
    return Trace(f"loss {loss_fn!r}", "dlogits", index, rule, float(dlogits[index]))
