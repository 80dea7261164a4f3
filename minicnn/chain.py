"""A chain of layers: shapes worked out, parameters in one block, state."""

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .arguments import sizes, whole_number
from .arrays import as_float32, zeros_on_line
from .layers import Dropout, Layer, Parameter, ShapeError
from .layers.base import FloatArray, Shape

_build_lock = threading.RLock()  # several threads may be the first to use a model


class Chain(Layer):
    """Layers one after the other; `PlannedChain` adds passes, `Sequential` training and files.

    Parameters
    ----------
    *layers : Layer
        Chains may be among them. Each layer object can stand in one place only.
    seed : int
        Decides the starting weights and what Dropout drops: a layer's numbers are a function
        of this seed and its position. Layers that have weights already keep them.
    """

    def __init__(self, *layers: Layer, seed: int = 0):
        super().__init__()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {i} is {layer!r}; expected a Layer: Sequential(a, b, …)")
            if not hasattr(layer, "_parameters"):
                name = type(layer).__name__
                raise TypeError(f"layer {i}: {name}.__init__ does not call super().__init__()")
        self.layers = list(layers)
        self.seed = whole_number(seed, "seed", 0, 2**64 - 1)
        self.input_shape: Shape | None = None
        self._values: FloatArray | None = None
        self._gradients: FloatArray | None = None
        objects = [id(layer) for layer in self.leaves().values()]
        if len(set(objects)) < len(objects):
            raise ValueError("a layer object stands in two places; make one layer for each place")
        for stream, layer in enumerate(self.leaves().values()):
            layer.draw_from(self.seed, stream)  # also when someone looks at a weight beforehand

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def leaves(self, prefix: str = "") -> dict[str, Layer]:
        """All layers that are no Sequential, by dotted position ('0', '1', '2.0', …)."""
        found: dict[str, Layer] = {}
        for i, layer in enumerate(self.layers):
            if isinstance(layer, Chain):
                found |= layer.leaves(f"{prefix}{i}.")
            else:
                found[f"{prefix}{i}"] = layer
        return found

    # --- shapes and memory -----------------------------------------------------------------

    def prepare(self, x: Any) -> FloatArray:
        batch = as_float32(x)
        if batch.shape[1:] != self.input_shape or not len(batch):
            super().prepare(batch)
            if self.input_shape is None:  # the first input decides; others may differ
                self.build(batch.shape[1:])
        return batch

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output for one sample; a ShapeError names the layer and the fix."""
        return self.follow(input_shape)

    def follow(self, shape: Shape, infer: bool = False) -> Shape:
        for i, layer in enumerate(self.layers):
            try:
                if infer:
                    layer.infer(shape)
                shape = layer.output_shape(shape)
            except ShapeError as error:
                raise ShapeError(f"layer {i} {error}") from None
        return shape

    def infer(self, input_shape: Shape) -> None:
        """Fill in what the layers left as None; on an error they stay as they were."""
        left_open = [
            (layer, name)
            for layer in self.leaves().values()
            for name, value in vars(layer).items()
            if value is None and not name.startswith("_")
        ]
        try:
            self.follow(input_shape, infer=True)
            self.parameter_shapes()  # refuses sizes that are too large
        except ValueError:
            for layer, name in left_open:
                setattr(layer, name, None)
            raise

    def build(self, input_shape: Iterable[int]) -> Self:
        """Fix the shape of one sample (no batch axis), infer what depends on it; returns self.

        Raises ShapeError when the layers do not fit each other or the input, TypeError when
        `input_shape` is no sequence of whole numbers. The model is unchanged then.
        """
        try:
            shape = sizes(input_shape, "input_shape")
        except ValueError as error:
            raise ShapeError(str(error)) from None
        with _build_lock:
            self.infer(shape)
            self.input_shape = shape
            self.allocate()
        return self

    def parameter_shapes(self) -> dict[str, Shape] | None:
        shapes: dict[str, Shape] = {}
        for name, layer in self.leaves().items():
            own = layer.parameter_shapes()
            if own is None:
                return None
            shapes |= {f"{name}.{key}": shape for key, shape in own.items()}
        return shapes

    def allocate(self) -> None:
        """Draw the parameters of layers that have none, and move all into the two flat blocks."""
        with _build_lock:
            if self._values is not None:
                return
            for stream, (name, layer) in enumerate(self.leaves().items()):
                if not layer.has_parameters:
                    if layer.parameter_shapes() is None:
                        raise ValueError(
                            f"layer {name} {layer!r} does not know its input size yet; "
                            "call model.build(input_shape) first, like build((1, 28, 28))"
                        )
                    layer.reset_parameters(self.seed, stream)
            total = sum(p.size for layer in self.leaves().values() for p in layer.parameters())
            self.adopt(zeros_on_line(total), zeros_on_line(total))

    def adopt(self, values: FloatArray, gradients: FloatArray) -> None:
        """Let all parameters live in these two blocks, in the order of the state dict."""
        start = 0
        for layer in self.layers:
            own = layer.parameters()
            stop = start + sum(p.size for p in own)
            if isinstance(layer, Chain):
                layer.adopt(values[start:stop], gradients[start:stop])
            else:
                for p in own:
                    where = slice(start, start + p.size)
                    p.move_to(values[where].reshape(p.shape), gradients[where].reshape(p.shape))
                    start += p.size
            start = stop
        self._values, self._gradients = values, gradients

    @property
    def has_parameters(self) -> bool:
        return self._values is not None

    @property
    def flat_parameters(self) -> FloatArray:
        """All parameters as one float32 block, in the order of the state dict (not a copy)."""
        self.allocate()
        assert self._values is not None
        return self._values

    @property
    def flat_gradients(self) -> FloatArray:
        """All gradients, laid out like `flat_parameters` (not a copy)."""
        self.allocate()
        assert self._gradients is not None
        return self._gradients

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter by its state-dict name ('0.weight')."""
        self.allocate()
        return {
            f"{name}.{key}": p
            for name, layer in self.leaves().items()
            for key, p in layer.named_parameters().items()
        }

    def buffers(self) -> dict[str, NDArray[Any]]:
        self.allocate()
        return {
            f"{name}.{key}": array
            for name, layer in self.leaves().items()
            for key, array in layer.buffers().items()
        }

    def reset_parameters(self, seed: int = 0, stream: int = 0) -> None:
        """Start over from `seed`: weights, statistics and what Dropout will drop."""
        self.allocate()
        self.seed = seed
        for i, layer in enumerate(self.leaves().values()):
            layer.reset_parameters(seed, stream + i)

    def train(self, mode: bool = True) -> Self:
        for layer in self.layers:
            layer.train(mode)
        return super().train(mode)

    # --- state -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters and statistics under PyTorch's names ('0.weight')."""
        self.allocate()
        state: dict[str, NDArray[Any]] = {}
        for name, layer in self.leaves().items():
            state |= {f"{name}.{key}": p.data.copy() for key, p in layer.named_parameters().items()}
            state |= {f"{name}.{key}": array.copy() for key, array in layer.buffers().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over values from `state`; nothing is changed when anything does not fit.

        Parameters
        ----------
        state : mapping from name to array
            As from `state_dict` here or, as NumPy arrays, in PyTorch.
        strict : bool
            False leaves out entries that are missing here or there; shapes must fit always.

        Raises
        ------
        CheckpointError
            A ValueError that lists every missing, unexpected and mis-shaped entry.
        """
        from .checkpoint import check_entries

        if not isinstance(state, Mapping):
            raise TypeError(f"state is a {type(state).__name__}; expected names and arrays")
        self.allocate()
        targets = {name: p.data for name, p in self.named_parameters().items()} | self.buffers()
        arrays = {name: np.asarray(value) for name, value in state.items()}
        if not strict:
            common = arrays.keys() & targets.keys()
            arrays = {name: arrays[name] for name in common}
            targets = {name: targets[name] for name in common}
        check_entries(arrays, targets, "the state")
        for name, target in targets.items():
            target[...] = arrays[name]

    def generator_steps(self) -> dict[str, int]:
        """How many training passes each Dropout has made: with the seed, its next choices."""
        return {n: layer.step for n, layer in self.leaves().items() if isinstance(layer, Dropout)}

    def load_generator_steps(self, steps: Mapping[str, int]) -> None:
        """Continue every Dropout where `generator_steps` found it."""
        for name, layer in self.leaves().items():
            if isinstance(layer, Dropout):
                layer.step = int(steps[name])

    def __copy__(self) -> Self:
        """A deep copy: parameters live in the blocks of one model only."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_values": None, "_gradients": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copied or unpickled model gets blocks of its own again."""
        vars(self).update(state)
        if all(layer.has_parameters for layer in self.leaves().values()):
            self.allocate()
