"""minicnn, as a contender."""

from typing import Any

import numpy as np
from nets import minicnn_model

import minicnn as mc

from .recipe import Recipe
from .tasks import LR, MOMENTUM, Task, random_batch
from .worker import Work


def start(threads: int) -> None:
    mc.set_num_threads(threads)


def forget() -> None:
    """Nothing is kept between tasks."""


def work(task: Task, variant: str) -> Work:
    model = minicnn_model(task.net)
    x, y = random_batch(task)
    if not task.training:
        model.build(x.shape[1:])
        return Work(lambda: model.logits(x))
    loss = mc.CrossEntropyLoss()
    optimizer = mc.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    return Work(lambda: model.train_step(x, y, loss, optimizer))


class Learner:
    """Follows the recipe of `recipe.py`."""

    def __init__(self, recipe: Recipe, variant: str):
        self.model = minicnn_model("lenet").build((1, 28, 28))
        self.model.load_state_dict(recipe.starting_weights())
        self.loss = mc.CrossEntropyLoss()
        self.momentum = recipe.momentum

    def begin(self) -> None:
        """A new optimizer, without any memory of past gradients."""
        self.optimizer = mc.SGD(
            self.model.parameters(), lr=1.0, momentum=self.momentum, nesterov=True
        )

    def data(self, images: Any, labels: Any) -> tuple[Any, Any]:
        return images, labels

    def indices(self, order: Any) -> Any:
        return order

    def batch(self, x: Any, y: Any, chosen: Any) -> tuple[Any, Any, Any]:
        return x, y, chosen  # the step gathers it

    def step(self, x: Any, y: Any, chosen: Any, lr: float) -> None:
        self.optimizer.lr = lr
        self.model.train_step(x, y, self.loss, self.optimizer, indices=chosen)

    def correct(self, x: Any, y: Any) -> int:
        return int(np.count_nonzero(self.model.predict(x) == y))
