"""How LeNet learns MNIST in both libraries: the same weights, order and learning rates."""

import math
from typing import NamedTuple

import numpy as np
from nets import NETS
from numpy.typing import NDArray


class Recipe(NamedTuple):
    """SGD with Nesterov momentum; the learning rate rises for a quarter, then falls as a cosine."""

    seed: int
    epochs: int = 5
    batch: int = 64
    largest_lr: float = 0.1
    momentum: float = 0.9
    warm_up: float = 0.25  # share of all steps

    def order(self, epoch: int, samples: int) -> NDArray[np.int64]:
        """The order of the samples, as whole batches; what is left over stays out."""
        whole = samples // self.batch * self.batch
        return np.random.default_rng((self.seed, epoch)).permutation(samples)[:whole]

    def learning_rate(self, step: int, steps: int) -> float:
        """For step 0 … steps - 1."""
        at = (step + 0.5) / steps
        if at < self.warm_up:
            return self.largest_lr * at / self.warm_up
        left = (1 - at) / (1 - self.warm_up)
        return self.largest_lr * (1 - math.cos(math.pi * left)) / 2

    def starting_weights(self) -> dict[str, NDArray[np.float32]]:
        """LeNet's, by the names both libraries give them.

        All uniform in ±1/√(inputs of a unit), which both libraries do by default.
        """
        generator = np.random.default_rng(self.seed)
        arrays = {}
        for index, (kind, *arguments) in enumerate(NETS["lenet"][1]):
            if kind not in ("conv", "linear"):
                continue
            inputs, outputs = arguments[:2]
            window = (arguments[2], arguments[2]) if kind == "conv" else ()
            bound = (inputs * math.prod(window)) ** -0.5
            for name, shape in (("weight", (outputs, inputs, *window)), ("bias", (outputs,))):
                values = generator.uniform(-bound, bound, shape).astype(np.float32)
                arrays[f"{index}.{name}"] = values
        return arrays
