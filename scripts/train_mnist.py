"""Train LeNet on MNIST (four IDX files in a folder, gzipped or not) with a loop of your own.

python scripts/train_mnist.py FOLDER [--epochs 5] [--samples 60000]
"""

import argparse
import time

import numpy as np

import minicnn as mc


def lenet() -> mc.Sequential:
    return mc.Sequential(
        mc.Conv2d(1, 6, 5, padding=2), mc.ReLU(), mc.MaxPool2d(2),
        mc.Conv2d(6, 16, 5), mc.ReLU(), mc.MaxPool2d(2),
        mc.Flatten(), mc.Linear(400, 120), mc.ReLU(), mc.Linear(120, 84), mc.ReLU(),
        mc.Linear(84, 10),
        seed=0,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=60000)
    args = parser.parse_args()

    train = mc.datasets.load_mnist(args.folder, "train")
    test = mc.datasets.load_mnist(args.folder, "test")
    x, y = train.images[: args.samples], train.labels[: args.samples]

    model, loss_fn, batch = lenet(), mc.CrossEntropyLoss(), 64
    optimizer = mc.SGD(model.parameters(), lr=0.05, momentum=0.9)
    steps = args.epochs * -(-len(x) // batch)
    schedule = mc.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)

    for epoch in range(args.epochs):
        start, losses = time.perf_counter(), []
        order = np.random.default_rng(epoch).permutation(len(x))
        for first in range(0, len(x), batch):
            chosen = order[first : first + batch]
            losses.append(model.train_step(x[chosen], y[chosen], loss_fn, optimizer))
            schedule.step()
        seconds = time.perf_counter() - start
        found = model.evaluate(test.images, test.labels)
        print(f"epoch {epoch + 1}  loss {np.mean(losses):.4f}  {seconds:.1f} s  "
              f"test accuracy {found['accuracy']:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
