"""Random small models over every layer, with data: for tests that must hold for all of them."""

import numpy as np

import minicnn as mc

ACTIVATIONS = (
    mc.ReLU, mc.LeakyReLU, mc.GELU, lambda: mc.GELU("tanh"), mc.SiLU, mc.Sigmoid, mc.Tanh,
    mc.Identity,
)  # fmt: skip


def random_net(seed):
    """A model, and x and y for it; the same for the same seed."""
    g = np.random.default_rng(seed)
    shape = first = (int(g.choice((1, 2, 4))), int(g.integers(5, 10)), int(g.integers(5, 10)))
    layers = []
    for _ in range(int(g.integers(0, 5))):
        layer = random_map_layer(g, shape[0])
        try:
            shape = layer.output_shape(shape)
        except mc.ShapeError:
            continue
        layers.append(layer)
    if g.random() < 0.5:
        layers.append(mc.Flatten())
    if g.random() < 0.6:
        layers.append(mc.Linear(None, int(g.integers(2, 12)), bias=bool(g.integers(2))))
        layers += [mc.BatchNorm1d(None)] if g.random() < 0.5 else []
        layers.append(ACTIVATIONS[g.integers(len(ACTIVATIONS))]())
        layers += [mc.Dropout(0.4)] if g.random() < 0.5 else []
    classes, batch = int(g.integers(2, 6)), int(g.integers(2, 6))
    model = mc.Sequential(*layers, mc.Linear(None, classes), seed=seed)
    x = g.normal(size=(batch, *first)).astype(np.float32)
    return model, x, g.integers(0, classes, batch)


def random_map_layer(g, channels):
    """A layer for feature maps of that many channels, with arguments of all kinds."""
    size = (int(g.integers(1, 4)), int(g.integers(1, 4)))
    stride = (int(g.integers(1, 4)), int(g.integers(1, 4)))
    padding = (size[0] // 2, size[1] // 2) if g.random() < 0.5 else 0
    ceil = bool(g.integers(2))
    groups = int(g.choice([d for d in (1, 2, 4) if channels % d == 0]))
    makers = (
        lambda: mc.Conv2d(
            channels, 4, size, stride, padding, int(g.integers(1, 3)), groups, bool(g.integers(2))
        ),
        lambda: mc.Conv2d(channels, 2, size, padding="same"),
        lambda: mc.MaxPool2d(size, stride, padding, ceil),
        lambda: mc.AvgPool2d(size, stride, padding, ceil, bool(g.integers(2))),
        mc.GlobalAvgPool2d,
        lambda: mc.BatchNorm2d(channels),
        lambda: mc.Dropout2d(0.3),
        ACTIVATIONS[g.integers(len(ACTIVATIONS))],
    )
    return makers[g.integers(len(makers))]()
