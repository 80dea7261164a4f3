import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

def softmax(logits: Floats, out: Floats, num_threads: int) -> None: ...
def softmax_cross_entropy_forward(
    logits: Floats, labels: Labels, class_weight: Floats | None,
    ignore_index: int, label_smoothing: float, probabilities: Floats, num_threads: int,
) -> tuple[float, float]: ...  # fmt: skip
def softmax_cross_entropy_backward(
    probabilities: Floats, labels: Labels, class_weight: Floats | None,
    ignore_index: int, label_smoothing: float, weight_sum: float, dlogits: Floats,
    num_threads: int,
) -> None: ...  # fmt: skip
def soft_cross_entropy_forward(
    logits: Floats, targets: Floats, class_weight: Floats | None, label_smoothing: float,
    probabilities: Floats, num_threads: int,
) -> float: ...  # fmt: skip
def soft_cross_entropy_backward(
    probabilities: Floats, targets: Floats, class_weight: Floats | None, label_smoothing: float,
    dlogits: Floats, num_threads: int,
) -> None: ...  # fmt: skip
def count_correct(logits: Floats, labels: Labels, ignore_index: int = -100) -> int: ...
