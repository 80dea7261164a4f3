"""A layer of your own, in Python: checked against finite differences, then trained.

PReLU (He et al. 2015) is ReLU with a slope for negative inputs that is learned, one for each
channel. Run it with: python scripts/custom_layer.py [--epochs 8]
"""

import argparse

import numpy as np

import minicnn as mc


class PReLU(mc.Layer):
    """x where x > 0, else slope[c] · x; (N, C, H, W) → the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def parameter_shapes(self):
        return {"slope": (self.channels,)}

    def initial_parameter(self, name, shape, seed, stream):
        return np.full(shape, 0.25, np.float32)

    def forward(self, x):
        x = self.prepare(x)
        self.save_for_backward(x)
        return np.where(x > 0, x, self.slopes() * x)

    def backward(self, dy):
        x = self.saved()
        dy = self.prepare_gradient(dy, x.shape)
        # The slope is a factor of every x ≤ 0 of its channel, so they all add to its gradient.
        self.named_parameters()["slope"].grad[...] = (dy * np.minimum(x, 0)).sum(axis=(0, 2, 3))
        return np.where(x > 0, dy, self.slopes() * dy)

    def slopes(self):
        return self.named_parameters()["slope"].data[:, None, None]


options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--epochs", type=int, default=8)
epochs = options.parse_args().epochs

digits = mc.datasets.load_digits()
x, y = digits.images[:1500], digits.labels[:1500]
model = mc.Sequential(
    mc.Conv2d(1, 16, 3, padding=1), PReLU(16), mc.MaxPool2d(2), mc.Linear(256, 10), seed=0
)
check = mc.gradcheck(model, x[:8], y[:8])
print(check)
assert check.passed

optimizer = mc.SGD(model.parameters(), lr=0.05, momentum=0.9)
model.fit(x, y, epochs, batch_size=32, optimizer=optimizer)
print("learned slopes", np.round(model[1].slopes().ravel(), 2))
result = model.evaluate(digits.images[1500:], digits.labels[1500:])
print(f"accuracy on {len(digits.labels) - 1500} digits it never saw: {result['accuracy']:.1%}")
