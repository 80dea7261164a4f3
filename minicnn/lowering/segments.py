"""Both passes of a chain piece by piece: plans where the engine knows the layers.

`divide` is the one place that decides where a chain is cut. A layer that no plan covers runs
itself, between plans; it takes and returns arrays of users, (N, C, H, W) or (N, features).
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..arrays import as_float32
from ..layers import Layer, ShapeError
from ..layers.base import FloatArray
from ..layers.mode import in_inference
from .nodes import operation_kind, refused
from .passes import Passes

WORTHWHILE = ("conv", "linear", "max_pool", "avg_pool")  # faster as a plan, even alone


class Find(Protocol):
    """Gives the passes of some neighbouring layers, or None where these run themselves."""

    def __call__(
        self, layers: list[Layer], *, x: FloatArray, input_gradient: bool
    ) -> Passes | None: ...


class Piece(NamedTuple):
    """Neighbouring layers by position ('0', '2.1'): those of one plan, or a single one."""

    layers: dict[str, Layer]
    planned: bool


def divide(layers: Mapping[str, Layer]) -> list[Piece]:
    """The longest runs of layers that a plan covers, and single layers between them."""
    pieces: list[Piece] = []
    run: dict[str, Layer] = {}
    for name, layer in layers.items():
        if not refused(layer):
            run[name] = layer
            continue
        pieces += [*pieces_of(run), Piece({name: layer}, False)]
        run = {}
    return pieces + pieces_of(run)


def pieces_of(run: dict[str, Layer]) -> list[Piece]:
    """One piece, or single layers where they do too little to be worth a plan."""
    if any(operation_kind(layer) in WORTHWHILE for layer in run.values()):
        return [Piece(run, True)]
    return singles(run)


def singles(layers: Mapping[str, Layer]) -> list[Piece]:
    return [Piece({name: layer}, False) for name, layer in layers.items()]


class Segments:
    """A forward pass of a chain and, after it, the backward pass.

    Parameters
    ----------
    pieces : list of Piece
    find : callable
        Finds the passes of a planned piece for a batch.
    input_gradient : bool
        Whether `backward` returns the gradient of x.
    """

    def __init__(self, pieces: list[Piece], find: Find, input_gradient: bool):
        self.pieces = pieces
        self.find = find
        self.input_gradient = input_gradient
        self.taken: list[tuple[str, Passes | Layer]] = []

    def whole(self, x: FloatArray) -> Passes | None:
        """The passes of the chain, if one plan covers all of it."""
        if len(self.pieces) != 1 or not self.pieces[0].planned:
            return None
        return self.find([*self.pieces[0].layers.values()], x=x, input_gradient=self.input_gradient)

    def forward(self, x: FloatArray) -> FloatArray:
        """The output for a batch; remembers what has run, unless nobody will ask for it."""
        taken: list[tuple[str, Passes | Layer]] = []
        for piece in self.pieces:
            if piece.planned:
                x = as_float32(x)  # layers of users may hand on other types
            for name, runner in self.runners(piece, x):
                try:
                    x = runner.forward(x)
                except ShapeError as error:
                    raise named(name, error) from None
                taken.append((name, runner))
        if not in_inference():
            self.taken = taken
        return x

    def backward(self, dy: FloatArray) -> FloatArray | None:
        """Overwrites all gradients of parameters; returns that of x, if it is wanted."""
        gradient: Any = dy
        for name, runner in reversed(self.taken):
            try:
                gradient = runner.backward(gradient)
            except ShapeError as error:
                raise named(name, error) from None
        dx: FloatArray | None = gradient
        return dx

    def runners(self, piece: Piece, x: FloatArray) -> Iterable[tuple[str, Passes | Layer]]:
        """What takes the batch `x` through a piece: one plan, or the layers by themselves."""
        passes = self.passes_of(piece, x) if piece.planned else None
        return piece.layers.items() if passes is None else [(list(piece.layers)[-1], passes)]

    def passes_of(self, piece: Piece, x: FloatArray) -> Passes | None:
        """None also where a layer cannot take such an input: it will say so itself.

        Layers of users may hand on another shape than the one they announce.
        """
        if x.ndim < 2 or not x.size:
            return None
        wanted = self.input_gradient or piece is not self.pieces[0]
        try:
            return self.find([*piece.layers.values()], x=x, input_gradient=wanted)
        except ShapeError:
            return None

    def memory(self, x: FloatArray) -> int:
        """Bytes that training on a batch like `x` takes, besides the parameters."""
        total, largest, shape = 0, 0, x.shape
        for piece in self.pieces:
            passes = self.passes_of(piece, np.empty(shape, np.float32)) if piece.planned else None
            for layer in piece.layers.values():
                shape = (len(x), *layer.output_shape(shape[1:]))
                if passes is None:  # every output is kept, and of their gradients two at a time
                    total += 4 * math.prod(shape)
                    largest = max(largest, 4 * math.prod(shape))
            if passes is not None:
                total += passes.memory(len(x))
        return total + 2 * largest


def named(name: str, error: ShapeError) -> ShapeError:
    """With the layer's position in front: '2.0' is layer 0 of the chain that is layer 2."""
    return ShapeError(" ".join(f"layer {index}" for index in name.split(".")) + f" {error}")
