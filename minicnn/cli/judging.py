"""How far probabilities can be believed: fitting the temperature, and saying what it changed."""

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
    from ..runs import RunFolder
    from ..sequential import Sequential

SCORES = {
    "ece": expected_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
}


def calibrate(folder: "RunFolder", validation: "Dataset") -> "Sequential":
    """The run's best model with a temperature fitted on its validation part, saved with it."""
    from ..model_file import load

    model = load(folder.model)
    model.temperature = fit_temperature(model.logits(validation.images), validation.labels)
    model.save(folder.model)
    return model


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
