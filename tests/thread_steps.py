"""What the processes of test_threads.py do; a module of its own, so that they can import it."""

import numpy as np

import minicnn as mc


def step(seed=0):
    """The weights after a training step large enough for threads, as bytes."""
    x = np.random.default_rng(0).normal(size=(16, 3, 16, 16)).astype(np.float32)
    model = mc.Sequential(mc.Conv2d(3, 8, 3), mc.ReLU(), mc.Linear(None, 10), seed=seed)
    model.build((3, 16, 16))
    opt = mc.SGD(model.parameters(), lr=0.1)
    model.train_step(x, np.arange(16) % 10, mc.CrossEntropyLoss(), opt)
    return model.flat_parameters.tobytes()


def child(queue):
    """Reports the number of threads, what setting two does, and the weights after a step."""
    before = mc.get_num_threads()
    try:
        mc.set_num_threads(2)
        error = None
    except RuntimeError as refused:
        error = str(refused)
    queue.put((before, error, step()))
