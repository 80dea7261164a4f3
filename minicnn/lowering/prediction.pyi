import threading
from collections.abc import Sequence
from typing import Any

from ..layers import Layer, Parameter
from ..layers.base import FloatArray, Shape
from .passes import Passes

class Prediction:
    used: int
    def __init__(
        self,
        chains: Sequence[Layer],
        layers: Sequence[Layer],
        parameters: Sequence[Parameter],
        passes: Passes,
        shape: Shape,
        lock: threading.Lock,
    ) -> None: ...
    def serves(self) -> bool: ...
    def run(self, x: Any) -> FloatArray: ...
