"""The temperature on the command line: fitted by train, used by predict and evaluate."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn.calibration import fit_temperature

from .conftest import FAST, blocks, only_object


@pytest.fixture
def unsure_run(data, command):
    """A run on labels of which a fifth is wrong, so that there is something to fit."""
    x, y = blocks(300)
    g = np.random.default_rng(0)
    y = np.where(g.random(len(y)) < 0.2, g.integers(0, 3, len(y)), y)
    np.savez("noisy.npz", x=x, y=y, x_test=x[:90], y_test=y[:90])
    assert command("train", "noisy.npz", *FAST, "--quiet")[0] == 0
    Image.fromarray(x[0, 0]).save("one.png")
    return Path("runs/train-001")


def test_train_stores_the_temperature_that_fits_the_validation_part(unsure_run, command):
    model = mc.load(unsure_run / "model.safetensors")
    summary = json.loads((unsure_run / "summary.json").read_text())
    assert model.temperature == summary["temperature"] != 1
    data = np.load("noisy.npz")
    from minicnn.data.split import stratified_split

    _, validation = stratified_split(data["y"], 0.2, 0)
    logits = model.logits(data["x"][validation])
    assert model.temperature == fit_temperature(logits, data["y"][validation].astype(np.int64))


def test_evaluate_reports_what_the_temperature_changes(unsure_run, command):
    found = only_object(command("evaluate", unsure_run, "--json")[1])["calibration"]
    assert found["temperature"] == mc.load(unsure_run / "model.safetensors").temperature
    assert found["before"]["nll"] != found["nll"]
    summary = json.loads((unsure_run / "summary.json").read_text())
    assert found["ece"] == summary["calibration_error"]
    assert found["before"]["ece"] == summary["calibration_error_before"]
    _, out, _ = command("evaluate", unsure_run)
    assert "as the network gives them" in out
    assert f"with temperature {found['temperature']:.3f}" in out


def test_evaluate_keeps_the_loss_of_the_training(unsure_run, command):
    found = only_object(command("evaluate", unsure_run, "--json")[1])
    assert found["loss"] == pytest.approx(found["calibration"]["before"]["nll"], rel=1e-6)


def test_predict_no_temperature_answers_as_the_network_does(unsure_run, command):
    model = mc.load(unsure_run / "model.safetensors")
    x = np.asarray(Image.open("one.png"))[None, None]
    for words, temperature in ((), None), (("--no-temperature",), 1):
        _, out, _ = command("predict", unsure_run, "one.png", "--json", *words)
        (answer,) = only_object(out)["predictions"]
        expected = model.predict_proba(x, temperature=temperature)[0]
        assert answer["probability"] == float(expected.max())
        assert answer["class"] == model.classes[int(expected.argmax())]


def test_export_notes_the_temperature(unsure_run, command):
    safetensors = pytest.importorskip("safetensors")
    command("export", unsure_run, "--to", "safetensors", "--out", "plain.safetensors")
    with safetensors.safe_open("plain.safetensors", "np") as file:
        noted = json.loads(file.metadata()["temperature"])
    assert noted == mc.load(unsure_run / "model.safetensors").temperature


def test_run_without_a_wrong_answer_keeps_temperature_one(data, command):
    command("train", data, "--arch", "mlp", "--epochs", "12", "--quiet")
    summary = json.loads(Path("runs/train-001/summary.json").read_text())
    assert summary["val_accuracy"] == 1  # else this test shows nothing
    assert summary["temperature"] == 1
    assert "with temperature" not in command("evaluate", "runs/train-001")[1]
