"""The contract every layer keeps, and what layers are made of.

A layer is a small class with three duties:

    output_shape(input_shape)   the shape rule, and the place of every shape error
    forward(x)                  y from x; remembers what backward will need
    backward(dy)                dx from dy; overwrites the parameters' gradients

The constructor stores and validates hyper-parameters and nothing else. A layer of your own
subclasses `Layer`, writes these three and, if it learns, `parameter_shapes` and
`initial_parameter`; `scripts/custom_layer.py` is a complete example.
"""

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..arrays import as_float32
from .mode import in_inference

Shape = tuple[int, ...]
FloatArray = NDArray[np.float32]


class ShapeError(ValueError):
    """An input shape that a layer cannot take. `Sequential` puts the layer's index in front."""


class Parameter:
    """A learnable array and its gradient, both float32 and of the same shape.

    Inside a `Sequential` both are views into the model's two flat blocks, so write into them
    (`p.data[...] = value`) and never replace them.
    """

    __slots__ = ("data", "grad", "name")

    def __init__(self, data: FloatArray, name: str):
        self.name = name
        self.data = data
        self.grad = np.zeros_like(data)

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def size(self) -> int:
        return self.data.size

    def move_to(self, data: FloatArray, grad: FloatArray) -> None:
        """Copy value and gradient into the views `data` and `grad`, and live there."""
        data[...] = self.data
        grad[...] = self.grad
        self.data, self.grad = data, grad

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self.shape})"


class Layer:
    """Base class of all layers; `Sequential` is one too.

    Attributes
    ----------
    training : bool
        The mode, set by `train()` and `eval()`; reads False inside `inference()`.
    """

    def __init__(self) -> None:
        self._training = True
        self._saved: tuple[Any, ...] | None = None
        self._parameters: dict[str, Parameter] | None = None
        self._buffers: dict[str, NDArray[Any]] | None = None
        self._source = (0, 0)  # seed and stream that the parameters will be drawn from

    # --- what a layer defines ------------------------------------------------------------

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output for one sample of shape `input_shape` (no batch axis).

        Raises ShapeError when the layer cannot take such an input. Here: the same shape.
        """
        return input_shape

    def forward(self, x: FloatArray) -> FloatArray:
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x)")

    def backward(self, dy: FloatArray) -> FloatArray:
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy)")

    def infer(self, input_shape: Shape) -> None:
        """Fill in hyper-parameters left as None from the shape of one input sample."""

    def parameter_shapes(self) -> dict[str, Shape] | None:
        """Name and shape of each learnable array; None while a hyper-parameter is missing."""
        return {}

    def initial_parameter(self, name: str, shape: Shape, seed: int, stream: int) -> FloatArray:
        """Starting value of one parameter, a function of (seed, stream) only."""
        raise NotImplementedError(f"{type(self).__name__} does not define initial_parameter")

    def initial_buffers(self) -> dict[str, NDArray[Any]]:
        """State that is saved but not learned (running statistics), as it starts out."""
        return {}

    def multiply_adds(self, input_shape: Shape) -> int:
        """Multiply-accumulate operations of one sample's forward pass; 0 if not counted."""
        return 0

    # --- calling and remembering ------------------------------------------------------------

    def __call__(self, x: FloatArray) -> FloatArray:
        return self.forward(x)

    def prepare(self, x: Any) -> FloatArray:
        """`x` as a C-contiguous float32 batch that this layer can take, or an error.

        The first lines of every forward: converts (`arrays.as_float32`), fills in missing
        hyper-parameters, and applies the shape rule.
        """
        batch = as_float32(x)
        if batch.ndim < 2:
            raise ShapeError(
                f"{self!r}: its input has shape {batch.shape}; expected a batch of samples, "
                "axis 0 counting them; for a single sample use x[None]"
            )
        if not batch.size:
            raise ShapeError(f"{self!r}: its input has shape {batch.shape}, which holds no values")
        self.infer(batch.shape[1:])
        self.output_shape(batch.shape[1:])
        return batch

    def save_for_backward(self, *arrays: Any) -> None:
        """Remember `arrays` for `backward`; does nothing when no backward pass can follow."""
        if not in_inference():
            self._saved = arrays

    def forget(self) -> None:
        """Drop what `save_for_backward` remembered."""
        self._saved = None

    def saved(self) -> Any:
        """What `save_for_backward` remembered: the array itself if it was only one."""
        if self._saved is None:
            raise RuntimeError(
                f"{self!r}: backward was called before forward; run forward(x) first, "
                "outside predict and evaluate, which remember nothing; inside a model, layers "
                "remember their part after model.forward_by_layers(x)"
            )
        return self._saved[0] if len(self._saved) == 1 else self._saved

    def prepare_gradient(self, dy: Any, shape: Shape) -> FloatArray:
        """`dy` as a C-contiguous float32 array of exactly the output's `shape`, or an error."""
        gradient = as_float32(dy)
        if gradient.shape != shape:
            raise ShapeError(
                f"{self!r}: the gradient handed to backward has shape {gradient.shape}; "
                f"expected {shape}, the shape of the last output"
            )
        return gradient

    # --- mode ---------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        return self._training and not in_inference()

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode (or with False to evaluation mode); returns self."""
        self._training = bool(mode)
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode: BatchNorm uses its running statistics, Dropout is off."""
        return self.train(False)

    # --- parameters and state --------------------------------------------------------------

    def named_parameters(self) -> dict[str, Parameter]:
        """The parameters by name, created on first use (from seed 0 if nobody set another)."""
        if self._parameters is None:
            self.reset_parameters(*self._source)
        assert self._parameters is not None
        return self._parameters

    def parameters(self) -> list[Parameter]:
        """The parameters, in the order of the state dict."""
        return list(self.named_parameters().values())

    def draw_from(self, seed: int, stream: int) -> None:
        """Where to draw the parameters from on first use; those that exist stay as they are."""
        self._source = (seed, stream)

    def reset_parameters(self, seed: int = 0, stream: int = 0) -> None:
        """Draw all parameters anew from (seed, stream) and reset the state.

        Layers of a `Sequential` get its seed and their own position as `stream`, so that no
        two of them start alike.
        """
        shapes = self.parameter_shapes()
        if shapes is None:
            raise ValueError(
                f"{self!r} does not know its input size yet; give it, or call "
                "build(input_shape) or forward first"
            )
        values = {k: self.checked_initial(k, s, seed, stream) for k, s in shapes.items()}
        if self._parameters is None:
            self._parameters = {name: Parameter(data, name) for name, data in values.items()}
        for name, data in values.items():
            self._parameters[name].data[...] = data
        self._buffers = self.initial_buffers()

    def checked_initial(self, name: str, shape: Shape, seed: int, stream: int) -> FloatArray:
        value = np.array(self.initial_parameter(name, shape, seed, stream), np.float32)
        if value.shape != shape:
            raise ValueError(
                f"{self!r}: initial_parameter gave {name} the shape {value.shape}; expected "
                f"{shape}, as parameter_shapes says"
            )
        return value

    @property
    def has_parameters(self) -> bool:
        """Whether parameters exist already (a lone layer draws them on first use)."""
        return self._parameters is not None

    def buffers(self) -> dict[str, NDArray[Any]]:
        """The saved-but-not-learned arrays by name (BatchNorm's statistics), as they are held."""
        if self._buffers is None:
            self._buffers = self.initial_buffers()
        return self._buffers

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out what was remembered for a backward pass."""
        return vars(self) | {"_saved": None}

    # --- description ---------------------------------------------------------------------

    def hyper_parameters(self) -> dict[str, Any]:
        """The constructor's arguments by name, as held now: with them an equal layer is made."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: self.hyper_parameter(name) for name in names}

    def hyper_parameter(self, name: str) -> Any:
        """The value of one constructor argument; by default the attribute of that name."""
        return getattr(self, name)

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={text}"
            for name, value in self.hyper_parameters().items()
            if (text := argument_text(value)) != argument_text(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def argument_text(value: Any) -> str:
    """A constructor's argument as one would type it: a pair of equal numbers as one."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return repr(value)
