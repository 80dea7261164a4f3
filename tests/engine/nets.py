"""Random nets of the layers that the engine covers, and the oracle's passes through any net."""

import numpy as np
import reference

import minicnn as mc
from minicnn.kernels import dropout

SMOOTH = {
    mc.GELU: (reference.gelu_forward, reference.gelu_backward),
    mc.SiLU: (reference.silu_forward, reference.silu_backward),
    mc.Sigmoid: (reference.sigmoid_forward, reference.sigmoid_backward),
    mc.Tanh: (reference.tanh_forward, reference.tanh_backward),
}
BATCHES = (1, 2, 7, 8, 15, 16, 17, 33, 64)


class Scale(mc.Layer):
    """A user's own layer: y = gain · x with one gain, which is learned."""

    def parameter_shapes(self):
        return {"gain": (1,)}

    def initial_parameter(self, name, shape, seed, stream):
        return np.full(shape, 1.25)

    @property
    def gain(self):
        return self.named_parameters()["gain"]

    def forward(self, x):
        x = self.prepare(x)
        self.save_for_backward(x)
        return x * self.gain.data

    def backward(self, dy):
        x = self.saved()
        self.gain.grad[0] = np.sum(np.multiply(dy, x, dtype=np.float64))
        return dy * self.gain.data


def random_net(seed):
    """A model that the engine covers, and x for it; the same for the same seed."""
    g = np.random.default_rng([seed, 11])
    batch = BATCHES[seed % len(BATCHES)]
    shape = first = (int(g.choice((1, 2, 3, 4))), int(g.integers(5, 12)), int(g.integers(5, 12)))
    layers = []
    for _ in range(int(g.integers(1, 6))):
        layer = map_layer(g, shape[0], batch)
        try:
            shape = layer.output_shape(shape)
        except mc.ShapeError:
            continue
        layers.append(layer)
    layers += [mc.Flatten()] if g.random() < 0.6 else []
    for _ in range(int(g.integers(0, 3))):
        layers.append(mc.Linear(None, int(g.integers(1, 40)), bias=bool(g.integers(2))))
        layers += [mc.BatchNorm1d(None)] if g.random() < 0.4 and batch > 2 else []
        layers += [mc.ReLU()] if g.random() < 0.7 else []
        layers += [mc.Dropout(0.4)] if g.random() < 0.3 else []
    model = mc.Sequential(*layers, mc.Linear(None, int(g.integers(2, 20))), seed=seed)
    return model, g.normal(size=(batch, *first)).astype(np.float32)


def map_layer(g, channels, batch):
    """A layer for feature maps of that many channels, with arguments of all kinds."""
    size = (int(g.integers(1, 5)), int(g.integers(1, 5)))
    stride = (int(g.integers(1, 4)), int(g.integers(1, 4)))
    half = (size[0] // 2, size[1] // 2)
    padding = half if g.random() < 0.5 else 0
    groups = int(g.choice([d for d in (1, 2, 3) if channels % d == 0]))
    many = groups * int(g.integers(1, 9))
    dilation = int(g.integers(1, 3))
    makers = [
        lambda: mc.Conv2d(
            channels, many, size, stride, padding, dilation, groups, bool(g.integers(2))
        ),
        lambda: mc.Conv2d(channels, many, size, padding="same"),
        lambda: mc.Conv2d(channels, many, 3, padding=int(g.integers(0, 4))),
        mc.ReLU,
        lambda: mc.LeakyReLU(0.1),
        lambda: mc.MaxPool2d(size, stride, padding, bool(g.integers(2))),
        lambda: mc.MaxPool2d(2),
        lambda: mc.AvgPool2d(size, stride, padding, bool(g.integers(2)), bool(g.integers(2))),
        lambda: mc.Dropout2d(0.3),
        lambda: mc.Dropout(0.3),
        mc.Identity,
    ]
    makers += [lambda: mc.BatchNorm2d(channels)] if batch > 2 else []
    makers += [mc.GlobalAvgPool2d] if g.random() < 0.3 else []
    return makers[g.integers(len(makers))]()


def oracle_passes(model, x, dy):
    """(y, gradients by name) in float64, each layer in its mode; changes no layer."""
    return oracle_gradients(model, x, dy)[:2]


def oracle_gradients(model, x, dy):
    """(y, gradients by name, dx)."""
    y, backs = np.asarray(x, np.float64), []
    for layer in model.leaves().values():
        y, back = forward(layer, y)
        backs.append(back)
    gradient, gradients = np.asarray(dy, np.float64).reshape(y.shape), {}
    for (name, layer), back in reversed(list(zip(model.leaves().items(), backs, strict=True))):
        gradient, *own = back(gradient)
        for key, value in zip(layer.named_parameters(), own, strict=False):
            gradients[f"{name}.{key}"] = value
    return y, gradients, gradient


def forward(layer, x):
    """y and a function from dy to (dx, dweight, dbias)."""
    shape = x.shape
    if isinstance(layer, mc.Conv2d):
        return conv2d(layer, x)
    if isinstance(layer, mc.Linear):
        flat, weight = x.reshape(len(x), -1), layer.weight.data
        y = reference.linear_forward(flat, weight, layer.bias and layer.bias.data)
        return y, lambda dy: reshaped(reference.linear_backward(flat, weight, dy), shape)
    if isinstance(layer, (mc.BatchNorm1d, mc.BatchNorm2d)):
        flat, weight, bias = x.reshape(*shape[:2], -1), layer.weight.data, layer.bias.data
        if not layer.training:
            return frozen_batchnorm(layer, x, flat)
        state = (layer.running_mean, layer.running_var, layer.momentum, layer.eps)
        y = reference.batchnorm_train_forward(flat, weight, bias, *state)[0]

        def back(dy):
            dy = dy.reshape(flat.shape)
            return reshaped(reference.batchnorm_train_backward(flat, weight, dy, layer.eps), shape)

        return y.reshape(shape), back
    if isinstance(layer, mc.ReLU):
        return reference.relu_forward(x), lambda dy: (reference.relu_backward(x, dy),)
    if isinstance(layer, mc.LeakyReLU):
        slope = layer.negative_slope
        y = reference.leaky_relu_forward(x, slope)
        return y, lambda dy: (reference.leaky_relu_backward(x, dy, slope),)
    if isinstance(layer, mc.Dropout):
        if not layer.training:
            return x, lambda dy: (dy,)
        mask = dropout_mask(layer, shape)  # of p = 1 nothing stays
        factor = mask / (1 - layer.p) if layer.p < 1 else mask
        return x * factor, lambda dy: (dy * factor,)
    if type(layer) in SMOOTH:
        onward, back = SMOOTH[type(layer)]
        return onward(x), lambda dy: (back(x, dy),)
    if isinstance(layer, Scale):
        gain = layer.gain.data
        return x * gain, lambda dy: (dy * gain, np.sum(dy * x).reshape(1))
    if isinstance(layer, mc.Flatten):
        return x.reshape(len(x), -1), lambda dy: (dy.reshape(shape),)
    return (x, lambda dy: (dy,)) if isinstance(layer, mc.Identity) else pool(layer, x)


def frozen_batchnorm(layer, x, flat):
    weight, state = layer.weight.data, (layer.running_mean, layer.running_var, layer.eps)
    y = reference.batchnorm_eval_forward(flat, weight, layer.bias.data, *state)

    def back(dy):
        found = reference.batchnorm_eval_backward(flat, weight, dy.reshape(flat.shape), *state)
        return reshaped(found, x.shape)

    return y.reshape(x.shape), back


def reshaped(gradients, shape):
    return (gradients[0].reshape(shape), *gradients[1:])


def conv2d(layer, x):
    sh, sw, top, left, dh, dw, groups = layer.geometry()
    options = {"stride": (sh, sw), "padding": (top, left), "dilation": (dh, dw), "groups": groups}
    weight, bias = layer.weight.data, layer.bias and layer.bias.data
    size = layer.output_shape(x.shape[1:])[1:]
    y = reference.conv2d_forward(x, weight, bias, output_size=size, **options)
    return y, lambda dy: reference.conv2d_backward(x, weight, dy, **options)


def pool(layer, x):
    size, out = x.shape[2:], layer.output_shape(x.shape[1:])[1:]
    if isinstance(layer, mc.GlobalAvgPool2d):
        y = reference.global_avg_pool_forward(x)
        return y, lambda dy: (reference.global_avg_pool_backward(dy, size),)
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    if isinstance(layer, mc.MaxPool2d):
        y, winners = reference.max_pool2d_forward(x, kernel, stride, padding, out)
        return y, lambda dy: (reference.max_pool2d_backward(dy, winners, size),)
    include = layer.count_include_pad
    y = reference.avg_pool2d_forward(x, kernel, stride, padding, include, out)
    back = reference.avg_pool2d_backward
    return y, lambda dy: (back(dy, size, kernel, stride, padding, include),)


def dropout_mask(layer, shape):
    """What `kernels.dropout` decides for the layer's next pass: 1 where a value stays."""
    units = shape[:2] if isinstance(layer, mc.Dropout2d) else shape
    ones, mask = np.ones(units, np.float32).reshape(-1), np.empty(int(np.prod(units)), np.uint8)
    where = (layer.seed, layer.step, layer.stream)
    dropout.dropout_forward(ones, np.empty_like(ones), mask, layer.p, *where, 1)
    return mask.reshape(*units, *(1,) * (len(shape) - len(units)))
