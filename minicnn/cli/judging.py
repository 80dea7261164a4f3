"""What a model answers, and how far its probabilities can be believed."""

from typing import TYPE_CHECKING, Any

from ..calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..report import Judged
    from ..runs import RunFolder
    from ..sequential import Sequential

SCORES = {
    "ece": expected_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
}


def calibrate(folder: "RunFolder", validation: "Dataset") -> "tuple[Sequential, Judged]":
    """The run's best model with a temperature fitted on its validation part, saved with it.

    Returns
    -------
    model : Sequential
    judged : Judged
        Its answers to the validation part.
    """
    from ..model_file import load

    model = load(folder.model)
    logits = model.logits(validation.images)
    model.temperature = fit_temperature(logits, validation.labels)
    model.save(folder.model)
    return model, _judged("validation", validation, logits, model.temperature)


def judge(model: "Sequential", part: str, dataset: "Dataset") -> "Judged":
    """The model's answers to one part of the data, with its temperature and without."""
    return _judged(part, dataset, model.logits(dataset.images), model.temperature)


def _judged(part: str, dataset: "Dataset", logits: Any, temperature: float) -> "Judged":
    from ..report import Judged

    after, before = (probabilities(logits, t) for t in (temperature, 1.0))
    return Judged(part, dataset.labels, after, before)


def calibration_object(logits: Any, labels: Any, temperature: float) -> dict[str, Any]:
    """The scores with the model's temperature and without, as plain data."""
    after, before = (probabilities(logits, t) for t in (temperature, 1.0))
    return {
        "temperature": temperature,
        **{name: score(labels, after) for name, score in SCORES.items()},
        "before": {name: score(labels, before) for name, score in SCORES.items()},
    }


def calibration_text(logits: Any, labels: Any, temperature: float) -> str:
    """The same as a table."""
    from .text import percent, table

    scores = calibration_object(logits, labels, temperature)
    rows = [["probabilities", "ECE", "NLL", "Brier"]]
    named = [("as the network gives them", scores["before"])]
    if temperature != 1:
        named.append((f"with temperature {temperature:.3f}", scores))
    for name, found in named:
        rows.append([name, percent(found["ece"]), f"{found['nll']:.4f}", f"{found['brier']:.4f}"])
    return table(rows)
