"""What a report is made of, as plain data; nothing here is drawn yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..inspection.findings import Report
from ..metrics import confusion_matrix, wilson_interval
from .pictures import Picture


@dataclass(frozen=True)
class Judged:
    """The model's answers to one part of the data.

    Attributes
    ----------
    part : str
        "test" or "validation".
    labels : (N,) int64
    probabilities : (N, K) float64
        With the model's temperature.
    before : (N, K) float64
        Without it.
    """

    part: str
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    before: NDArray[np.float64]

    @property
    def answers(self) -> NDArray[np.int64]:
        """The most likely class of each sample."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def hits(self) -> int:
        """How many answers are right."""
        return int((self.answers == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """Share of the answers that is right."""
        return self.hits / len(self.labels)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval around it."""
        return wilson_interval(self.hits, len(self.labels))

    @property
    def matrix(self) -> NDArray[np.int64]:
        """The confusion matrix, true classes in rows."""
        return confusion_matrix(self.labels, self.answers, self.probabilities.shape[1])


class Shown(NamedTuple):
    """One sample with its picture.

    Attributes
    ----------
    picture : Picture
    true, predicted : str
        Names of classes.
    probability : float
        Of the predicted class.
    second : tuple (class, probability)
        The next likely.
    name : str
        Of its file, or its position in the data.
    """

    picture: Picture
    true: str
    predicted: str
    probability: float
    second: tuple[str, float]
    name: str


@dataclass(frozen=True)
class Facts:
    """A run, ready to be shown.

    Attributes
    ----------
    run, data : str
        Path of the run folder, name of the data.
    architecture : str
    parameters : int
    input_shape : (C, H, W)
    classes : sequence of str
    epochs : int
        That were planned.
    history : sequence of dicts
        A row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, lr, seconds.
    best_epoch : int
    judged : sequence of Judged
        The first one is what the report is about.
    temperature : float
    counts : dict of part to (K,) integers
    from_files : bool
        Whether picture files can be made into the model's input without more ado.
    complete : bool
        Whether the training came to its end.
    ended : str or None
        Why it ended before its last epoch.
    notes : sequence of str
        About the data.
    left_out : sequence of (path, reason)
    inspection : Report or None
        What is wrong with the data.
    mistakes, hits, explained : sequences of Shown
    settings, environment : dicts
    command : sequence of str
    """

    run: str
    data: str
    architecture: str
    parameters: int
    input_shape: tuple[int, ...]
    classes: Sequence[str]
    epochs: int
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    judged: Sequence[Judged]
    temperature: float
    counts: Mapping[str, Sequence[int]]
    from_files: bool = True
    complete: bool = True
    ended: str | None = None
    notes: Sequence[str] = ()
    left_out: Sequence[tuple[str, str]] = ()
    inspection: Report | None = None
    mistakes: Sequence[Shown] = ()
    hits: Sequence[Shown] = ()
    explained: Sequence[Shown] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()
