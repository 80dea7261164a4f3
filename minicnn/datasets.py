"""Data sets by name: `mc.datasets.load_digits()`, `mc.datasets.load_mnist(root)`, ..."""

from .data.dataset import Dataset
from .data.digits import load_digits
from .data.idx import load_idx, load_mnist
from .data.image_folder import ImageFolder
from .data.named import load_named
from .data.npz import load_npz
from .data.split import stratified_split

__all__ = [
    "Dataset",
    "ImageFolder",
    "cifar10",
    "fashion_mnist",
    "load_digits",
    "load_idx",
    "load_mnist",
    "load_npz",
    "mnist",
    "stratified_split",
]


def mnist(split: str = "train") -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits, (N, 1, 28, 28) uint8; downloaded once.

    `split` is "train" or "test"; errors as in `minicnn.data.named.load_named`.
    """
    return load_named("mnist", split)


def fashion_mnist(split: str = "train") -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 pieces of clothing, (N, 1, 28, 28) uint8; downloaded once.

    `split` is "train" or "test"; errors as in `minicnn.data.named.load_named`.
    """
    return load_named("fashion-mnist", split)


def cifar10(split: str = "train") -> Dataset:
    """CIFAR-10: 50,000 + 10,000 photos of ten classes, (N, 3, 32, 32) uint8; downloaded once.

    `split` is "train" or "test"; errors as in `minicnn.data.named.load_named`.
    """
    return load_named("cifar10", split)
