"""A chain that runs: on the engine's plans where they cover its layers, else layer by layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .chain import Chain
from .layers import Layer
from .layers.base import FloatArray
from .layers.mode import in_inference

if TYPE_CHECKING:
    from .lowering import PassCache, Passes, Segments


class PlannedChain(Chain):
    """The passes of a chain. `Sequential` adds training, answers and files."""

    def __init__(self, *layers: Layer, seed: int = 0):
        super().__init__(*layers, seed=seed)
        self._passes: PassCache | None = None  # made with the first batch

    def forward(self, x: FloatArray) -> FloatArray:
        """A batch through all layers, in the current mode (`train()`, `eval()`).

        The engine's plans remember what `backward` needs, and not the layers: to look into these
        afterwards, use `forward_by_layers`.
        """
        # Somebody's own backward may ask the layers.
        return self.run(x, by_layers=self.has_own("backward") and not self.has_own("forward"))

    def forward_by_layers(self, x: FloatArray) -> FloatArray:
        """As `forward`, but each layer runs by itself and remembers its part.

        So `layer.saved()` and `layer.backward(dy)` work afterwards, and `backward` of the model
        goes layer by layer, too. Slower than `forward`; the numbers agree to rounding. A subclass
        with passes of its own keeps these.
        """
        return self.forward(x) if self.has_own_passes() else self.run(x, by_layers=True)

    def backward(self, dy: FloatArray) -> FloatArray:
        """The gradient of the last forward pass's output back to that of its input, of x's shape.

        Overwrites every parameter's `grad`; there is nothing to zero between steps.
        """
        dx: FloatArray = self.saved().backward(dy)
        return dx

    def run(self, x: Any, by_layers: bool) -> FloatArray:
        x = self.prepare(x)
        if not in_inference():
            self.forget()
        passes = self.segments(input_gradient=True, by_layers=by_layers)
        y = passes.forward(x)
        self.save_for_backward(passes)
        return y

    # --- who runs them ------------------------------------------------------------------------

    def passes_for(self, x: FloatArray) -> Passes | Segments | PlannedChain:
        """What does both passes for a prepared batch where nobody wants the gradient of x.

        The chain itself if a subclass has passes of its own.
        """
        if self.has_own_passes():
            return self
        found = self.segments(input_gradient=False)
        return found.whole(x) or found

    def segments(self, input_gradient: bool, by_layers: bool = False) -> Segments:
        """The chain in pieces for a plan each, and single layers."""
        from .engine import engine_enabled
        from .lowering.segments import Segments, divide, singles

        by_layers = by_layers or not engine_enabled()
        pieces = (singles if by_layers else divide)(self.units())
        find = partial(self.pass_cache.find, values=self.flat_parameters)
        return Segments(pieces, find, input_gradient)

    def units(self, prefix: str = "") -> dict[str, Layer]:
        """Like `leaves`, but a chain whose subclass has passes of its own stays whole."""
        found: dict[str, Layer] = {}
        for i, layer in enumerate(self.layers):
            if isinstance(layer, PlannedChain) and not layer.has_own_passes():
                found |= layer.units(f"{prefix}{i}.")
            else:
                found[f"{prefix}{i}"] = layer
        return found

    def has_own_passes(self) -> bool:
        """Whether a subclass defines forward or backward anew, like a block with a shortcut."""
        return self.has_own("forward") or self.has_own("backward")

    def has_own(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(PlannedChain, name)

    @property
    def pass_cache(self) -> PassCache:
        """The chain's plans for the engine."""
        if self._passes is None:
            from .lowering import PassCache

            self._passes = PassCache()
        return self._passes
