"""Grad-CAM: where in a picture a model sees a class.

It works on a copy of the model in evaluation mode, so that gradients, mode and statistics of the
model that is explained stay as they were.
"""

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import whole_number
from ..arrays import as_float32
from ..calibration import divide_logits
from ..data.bilinear import resize_map
from ..layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Dropout2d,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)
from ..sequential import Sequential

FloatArray = NDArray[np.float32]

# What belongs to a convolution when it follows it: the values stay in their places.
_IN_PLACE = (
    BatchNorm2d, Dropout, Dropout2d, Identity, ReLU, LeakyReLU, GELU, SiLU, Sigmoid, Tanh,
)  # fmt: skip


@dataclass(frozen=True)
class Heat:
    """What `grad_cam` found.

    Attributes
    ----------
    values : (H, W) float32
        One value a pixel of the input, from 0 to 1; all zero where nothing speaks for the class.
    raw : (h, w) float32
        Equation 2 as it is, one value a position of the layer's output.
    target : int
        The class.
    probability : float
        Of that class, for this input.
    layer : str
        The layer's dotted position.
    """

    values: FloatArray
    raw: FloatArray
    target: int
    probability: float
    layer: str


def feature_layers(model: Sequential) -> list[str]:
    """The layers whose output is a (C, H, W) map that Grad-CAM can be drawn for."""
    found, shape = [], model.input_shape
    for name, layer in model.units().items():
        if shape is None:
            return []
        shape = layer.output_shape(shape)
        if len(shape) == 3:
            found.append(name)
    return found


def default_layer(model: Sequential) -> str:
    """The last convolution, with the normalisation and activation that follow it.

    Raises
    ------
    ValueError
        The model has no convolution.
    """
    leaves = list(model.units().items())
    places = [i for i, (_, layer) in enumerate(leaves) if isinstance(layer, Conv2d)]
    if not places:
        raise ValueError("the model has no convolution, which Grad-CAM needs; name another layer")
    place = places[-1]
    while place + 1 < len(leaves) and isinstance(leaves[place + 1][1], _IN_PLACE):
        place += 1
    return leaves[place][0]


def grad_cam(
    model: Sequential, x: ArrayLike, target: int | None = None, layer: str | int | None = None
) -> Heat:
    """Where `model` sees the class `target` in `x`.

        α_k = mean over (i, j) of ∂y[target] / ∂A[k, i, j]        (eq. 1)
        L   = ReLU(Σ_k α_k A[k])                                  (eq. 2)

    y are the scores before the softmax, A the output of `layer`.

    Parameters
    ----------
    x : (C, H, W) float32, or uint8 (scaled to 0…1)
        One picture, as the model takes it.
    target : int, optional
        A class; the most likely one if left out.
    layer : str or int, optional
        Position of a layer with a (C, H, W) output, '7' or '2.0'; `default_layer` if left out.

    Returns
    -------
    Heat

    Raises
    ------
    ValueError
        There is no such class or layer, or the layer's output has no places.

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization" (2017), section 3.
    """
    batch = one_picture(x)
    probe = copy.deepcopy(model).eval().build(batch.shape[1:])
    name = default_layer(probe) if layer is None else str(layer)
    if name not in feature_layers(probe):
        raise ValueError(
            f"layer {name!r} has no output of channels, height and width; expected one of "
            f"{', '.join(feature_layers(probe))}"
        )
    maps, scores = _forward(probe, batch, name)
    chosen = _chosen_class(scores, target)
    slopes = _backward(probe, scores, chosen, name)
    weights = slopes.mean(axis=(1, 2), dtype=np.float64)
    raw = np.maximum(np.tensordot(weights, maps, axes=1), 0).astype(np.float32)
    peak = float(raw.max())
    values = resize_map(raw / peak if peak > 0 else raw, *batch.shape[2:])
    probability = float(_softmax(divide_logits(scores[None], probe.temperature)[0])[chosen])
    return Heat(values, raw, chosen, probability, name)


def one_picture(x: ArrayLike) -> FloatArray:
    """`x` as a batch of one, (1, C, H, W) float32."""
    picture = np.asarray(x)
    if picture.ndim != 3:
        raise ValueError(
            f"x has shape {picture.shape}; expected one picture, (channels, height, width)"
        )
    return as_float32(picture[None])


def _forward(model: Sequential, batch: FloatArray, name: str) -> tuple[FloatArray, FloatArray]:
    """The output of layer `name`, (C, h, w), and the scores, (K,)."""
    y, maps = batch, batch
    for here, layer in model.units().items():
        y = layer.forward(y)
        if here == name:
            maps = y
    if y.ndim != 2:
        raise ValueError(f"the model's output is {y.shape[1:]}; expected one score a class")
    return maps[0], y[0]


def _backward(model: Sequential, scores: FloatArray, target: int, name: str) -> FloatArray:
    """The gradient of scores[target] with respect to the output of layer `name`, (C, h, w)."""
    dy = np.zeros((1, len(scores)), np.float32)
    dy[0, target] = 1
    for here, layer in reversed(model.units().items()):
        if here == name:
            break
        dy = layer.backward(dy)
    slopes: FloatArray = dy[0]
    return slopes


def _chosen_class(scores: FloatArray, target: int | None) -> int:
    if target is None:
        return int(scores.argmax())
    return whole_number(target, "target", 0, len(scores) - 1)


def _softmax(scores: FloatArray) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64) - float(scores.max()))
    return np.asarray(powers / powers.sum())
