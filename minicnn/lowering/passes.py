"""Forward and backward passes of a chain through the engine."""

import math
import threading

import numpy as np

from ..engine import LANES, Plan
from ..engine.plan import item_count
from ..layers import Dropout, Layer
from ..layers.base import FloatArray, Shape
from ..threads import get_num_threads
from .lower import Lowered

LARGEST = 2**32  # bytes of memory; what needs more runs layer by layer
SMALL = 2**20  # multiply-adds of a pass that would be over before the other threads woke
SMALL_IN_A_ROW = 2**18  # the same where they are still awake from the one before
CHUNK = 64  # samples of a prediction that go through the net together, or more for many threads
FEW = 2  # samples that a large net handles faster layer by layer: the engine computes all lanes
LARGE = 2**21  # multiply-adds of one sample of such a net


class Passes:
    """One chain's plan for one shape of sample, in training or in prediction.

    Prediction takes a few slots at a time, which bounds the memory; training takes the batch as
    a whole. A lock lets one thread at a time in, since they share the plan's memory and, with
    all plans of the model, its parameters.
    """

    def __init__(
        self,
        layers: list[Layer],
        input_shape: Shape,
        training: bool,
        lowered: Lowered,
        lock: threading.Lock,
    ):
        self.layers, self.training = layers, training
        self.input_shape = self.output_shape = input_shape
        for layer in layers:
            self.output_shape = layer.output_shape(self.output_shape)
        self.input_gradient = lowered.input_gradient
        nodes = enumerate(lowered.nodes)
        self.varying = [
            (i, n.norm or n.layer) for i, n in nodes if n.norm or n.kind in ("dropout", "batchnorm")
        ]
        self.lowered, self.slot_samples = lowered, lowered.slot_samples
        self.multiply_adds = sum(n.layer.multiply_adds(n.x_shape) for n in lowered.nodes)
        self.plan = Plan(
            lowered.operations, lowered.forward, lowered.backward, lowered.step,
            lowered.slot_floats, lowered.local_floats, lowered.slot_samples,
            lowered.partial_floats,
            math.prod(input_shape), math.prod(self.output_shape),
        )  # fmt: skip
        self.lock = lock
        self.batch = 0  # of the last forward pass in training

    def fits(self, batch: int) -> bool:
        """Whether the engine is right for this batch: not too few samples, nor too much memory."""
        if batch <= FEW and self.multiply_adds > LARGE and self.slot_samples > 1:
            return False
        chunk = batch if self.training else min(batch, self.chunk())
        return plan_bytes(self.lowered, chunk) <= LARGEST  # for any number of threads the same

    def memory(self, batch: int) -> int:
        """Bytes that training on a batch of so many samples takes, besides the parameters."""
        return plan_bytes(self.lowered, batch, get_num_threads())

    def chunk(self) -> int:
        """Samples that prediction takes at a time."""
        return max(CHUNK, LANES * get_num_threads())

    def is_worth_sharing(self, batch: int) -> bool:
        """Whether a pass takes longer than waking the other threads."""
        return bool(batch * self.multiply_adds > SMALL)

    def is_worth_sharing_in_a_row(self, batch: int) -> bool:
        """The same for a pass that comes right after another one."""
        return bool(batch * self.multiply_adds > min(SMALL, SMALL_IN_A_ROW))

    def threads(self, batch: int) -> int:
        return get_num_threads() if self.is_worth_sharing(batch) else 1

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, …) float32 → the last layer's output, a new array."""
        flat = x.reshape(len(x), -1)
        y = np.empty((len(x), math.prod(self.output_shape)), np.float32)
        chunk = len(x) if self.training else self.chunk()
        with self.lock:
            self.update()
            self.batch = len(x) if self.training else self.batch
            for layer in self.layers if self.training else ():
                layer.forget()  # its memory would be of another forward pass
            for first in range(0, len(x), chunk):
                part = flat[first : first + chunk]
                self.plan.forward(part, y[first : first + chunk], self.threads(len(part)))
        return y.reshape(len(x), *self.output_shape)

    def backward(self, dy: FloatArray) -> FloatArray | None:
        """Overwrites all gradients of parameters; `dy` is that of the last forward's output.

        Returns that of its input, in a plan with `input_gradient`.
        """
        dy = self.layers[-1].prepare_gradient(dy, (self.batch, *self.output_shape))
        dx, flat = None, None
        if self.input_gradient:
            dx = np.empty((len(dy), *self.input_shape), np.float32)
            flat = dx.reshape(len(dy), -1)
        with self.lock:
            self.plan.backward(dy.reshape(len(dy), -1), flat, self.threads(len(dy)))
        return dx

    def update(self) -> None:
        """Hand over what changes from one pass to the next, and count the pass."""
        for index, layer in self.varying:
            if isinstance(layer, Dropout):
                self.plan.set_dropout(index, layer.p, layer.seed, layer.step, layer.stream)
                layer.step += 1
            else:
                self.plan.set_batchnorm(index, layer.momentum, layer.eps)
                layer.num_batches_tracked[...] += self.training and layer.training


def plan_bytes(lowered: Lowered, batch: int, threads: int = 1) -> int:
    """Memory of a plan for so many samples: slots, what threads keep, private gradients."""
    slots = -(-batch // lowered.slot_samples)
    together = max(operation.group for operation in lowered.operations)
    items = item_count(slots, lowered.slot_samples, together)
    floats = slots * lowered.slot_floats + threads * lowered.local_floats
    return 4 * (floats + items * lowered.partial_floats)
