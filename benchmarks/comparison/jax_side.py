"""JAX, as a contender: one jit-compiled function for the whole step, buffers donated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from nets import NETS

from .tasks import LR, MOMENTUM, Task, random_batch
from .worker import Work

Tree = Any  # a list with one dictionary of arrays for each layer


def start(threads: int) -> None:
    """JAX has as many threads as its process has CPUs; `worker.take_cpus` saw to that."""


def forget() -> None:
    jax.clear_caches()


def uniform(generator: np.random.Generator, fan_in: int, *shape: int) -> jax.Array:
    bound = fan_in**-0.5
    return jnp.asarray(generator.uniform(-bound, bound, shape), jnp.float32)


def starting_values(net: str, layout: str) -> tuple[Tree, Tree]:
    """Parameters and state (running statistics) of every layer."""
    generator = np.random.default_rng(0)
    parameters: Tree = []
    state: Tree = []
    for kind, *arguments in NETS[net][1]:
        layer, kept = {}, {}
        if kind == "conv":
            inputs, outputs, kernel, *_ = arguments
            shape = (
                (outputs, inputs, kernel, kernel)
                if layout == "NCHW"
                else (kernel, kernel, inputs, outputs)
            )
            layer["weight"] = uniform(generator, inputs * kernel * kernel, *shape)
            layer["bias"] = uniform(generator, inputs * kernel * kernel, outputs)
        elif kind == "linear":
            layer["weight"] = uniform(generator, arguments[0], *arguments)
            layer["bias"] = uniform(generator, arguments[0], arguments[1])
        elif kind == "batchnorm":
            layer["weight"], layer["bias"] = jnp.ones(arguments[0]), jnp.zeros(arguments[0])
            kept["mean"], kept["var"] = jnp.zeros(arguments[0]), jnp.ones(arguments[0])
        parameters.append(layer)
        state.append(kept)
    return parameters, state


def per_channel(vector: jax.Array, layout: str) -> jax.Array:
    return vector[:, None, None] if layout == "NCHW" else vector


def convolution(x: jax.Array, layer: Tree, stride: int, padding: int, layout: str) -> jax.Array:
    kernels = "OIHW" if layout == "NCHW" else "HWIO"
    y = lax.conv_general_dilated(
        x, layer["weight"], (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=(layout, kernels, layout),
    )  # fmt: skip
    return y + per_channel(layer["bias"], layout)


def max_pool(x: jax.Array, kernel: int, layout: str) -> jax.Array:
    window = (1, 1, kernel, kernel) if layout == "NCHW" else (1, kernel, kernel, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def batchnorm(
    x: jax.Array, layer: Tree, kept: Tree, training: bool, layout: str
) -> tuple[jax.Array, Tree]:
    mean, var = kept["mean"], kept["var"]
    if training:
        axes = (0, 2, 3) if layout == "NCHW" else (0, 1, 2)
        mean, var = x.mean(axes), x.var(axes)
        count = x.size // mean.size
        kept = {
            "mean": 0.9 * kept["mean"] + 0.1 * mean,
            "var": 0.9 * kept["var"] + 0.1 * var * (count / (count - 1)),
        }
    scale = layer["weight"] * lax.rsqrt(var + 1e-5)
    shift = layer["bias"] - mean * scale
    return x * per_channel(scale, layout) + per_channel(shift, layout), kept


def apply(
    net: str, layout: str, parameters: Tree, state: Tree, x: jax.Array, key: Any
) -> tuple[jax.Array, Tree]:
    """Logits and new state; training if there is a `key` for Dropout."""
    after = []
    layers = zip(NETS[net][1], parameters, state, strict=True)
    for index, ((kind, *arguments), layer, before) in enumerate(layers):
        kept = before
        if kind == "conv":
            x = convolution(x, layer, arguments[3], arguments[4], layout)
        elif kind == "linear":
            x = x @ layer["weight"] + layer["bias"]
        elif kind == "batchnorm":
            x, kept = batchnorm(x, layer, before, key is not None, layout)
        elif kind == "relu":
            x = jnp.maximum(x, 0)
        elif kind == "maxpool":
            x = max_pool(x, arguments[0], layout)
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
        elif kind == "dropout" and key is not None:
            keep = 1 - arguments[0]
            mask = jax.random.bernoulli(jax.random.fold_in(key, index), keep, x.shape)
            x = jnp.where(mask, x / keep, 0)
        after.append(kept)
    return x, after


def training_step(net: str, layout: str) -> Any:
    """(parameters, velocity, state, step number, x, y) to the same four, updated, and the loss."""

    def loss(parameters: Tree, state: Tree, number: Any, x: Any, y: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(0), number)
        logits, state = apply(net, layout, parameters, state, x, key)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
        return -chosen.mean(), state

    def step(parameters: Tree, velocity: Tree, state: Tree, number: Any, x: Any, y: Any) -> Any:
        (value, state), grad = jax.value_and_grad(loss, has_aux=True)(
            parameters, state, number, x, y
        )
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, grad)
        parameters = jax.tree.map(lambda p, v: p - LR * v, parameters, velocity)
        return parameters, velocity, state, number + 1, value

    return jax.jit(step, donate_argnums=(0, 1, 2, 3))


def work(task: Task, variant: str) -> Work:
    images, labels = random_batch(task)
    if variant == "NHWC":
        images = images.transpose(0, 2, 3, 1)
    x, y = jnp.asarray(np.ascontiguousarray(images)), jnp.asarray(labels.astype(np.int32))
    parameters, state = starting_values(task.net, variant)
    if not task.training:
        answer = jax.jit(lambda p, s, x: apply(task.net, variant, p, s, x, None)[0])
        held: list[Any] = [None]

        def ask() -> None:
            held[0] = answer(parameters, state, x)

        return Work(ask, lambda: jax.block_until_ready(held[0]))

    train = training_step(task.net, variant)
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    values = [parameters, velocity, state, jnp.zeros((), jnp.int32), None]

    def step() -> None:
        values[:] = train(*values[:4], x, y)

    return Work(step, lambda: jax.block_until_ready(values))
