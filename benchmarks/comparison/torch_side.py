"""PyTorch, as a contender: eager or compiled, NCHW or channels-last, fp32 or bfloat16."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from nets import torch_model

from .recipe import Recipe
from .tasks import LR, MOMENTUM, Task, random_batch
from .worker import Work

# Modes that hold for all answers of a task are entered once, not for each call.
standing = ExitStack()


def start(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def forget() -> None:
    """Leave standing modes, drop compiled code: another shape compiles for its own sizes."""
    standing.close()
    torch._dynamo.reset()


def autocast(variant: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if "bf16" in variant else nullcontext()


def layout(variant: str) -> torch.memory_format:
    return torch.channels_last if variant.startswith("NHWC") else torch.contiguous_format


def prepared(model: Any, variant: str, **options: Any) -> Any:
    """The model in the variant's layout, compiled if it says so."""
    model = model.to(memory_format=layout(variant))
    if "compiled" in variant:
        return torch.compile(model, dynamic=False, options=options)
    return model


def work(task: Task, variant: str) -> Work:
    images, labels = (torch.from_numpy(array) for array in random_batch(task))
    x = images.contiguous(memory_format=layout(variant))
    model = torch_model(task.net)
    if not task.training:
        standing.enter_context(torch.inference_mode())
        standing.enter_context(autocast(variant))
        answer = prepared(model.eval(), variant, freezing=True)
        return Work(lambda: answer(x))
    forward, loss = prepared(model, variant), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)
    plain = "bf16" not in variant

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        if plain:
            value = loss(forward(x), labels)
        else:
            with autocast(variant):
                value = loss(forward(x), labels)
        value.backward()
        optimizer.step()

    return Work(step)


class Learner:
    """Follows the recipe of `recipe.py`."""

    def __init__(self, recipe: Recipe, variant: str):
        model = torch_model("lenet")
        arrays = recipe.starting_weights()
        model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        self.model = model.to(memory_format=layout(variant))
        self.forward = prepared(self.model, variant)
        self.loss = torch.nn.CrossEntropyLoss()
        self.momentum = recipe.momentum
        self.layout = layout(variant)
        self.variant = variant

    def begin(self) -> None:
        """A new optimizer, without any memory of past gradients."""
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1.0, momentum=self.momentum, nesterov=True, fused=True
        )

    def data(self, images: Any, labels: Any) -> tuple[Any, Any]:
        x = torch.from_numpy(images).contiguous(memory_format=self.layout)
        return x, torch.from_numpy(labels)

    def indices(self, order: Any) -> Any:
        return torch.from_numpy(order)

    def batch(self, x: Any, y: Any, chosen: Any) -> tuple[Any, Any]:
        return x.index_select(0, chosen), y.index_select(0, chosen)

    def step(self, x: Any, y: Any, lr: float) -> None:
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.variant):
            loss = self.loss(self.forward(x), y)
        loss.backward()
        self.optimizer.step()

    def correct(self, x: Any, y: Any) -> int:
        """In batches of 1,000, by the uncompiled model: its layout is the same."""
        with torch.inference_mode():
            parts = zip(x.split(1000), y.split(1000), strict=True)
            found = [(self.model(part).argmax(1) == labels).sum() for part, labels in parts]
        return int(sum(found))
