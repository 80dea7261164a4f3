"""`minicnn export`."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import models

SEED_FILES = (
    "seed/iter_395000_train_0.918_valid_0.913.model",
    "seed/iter_20000_train_0.988_valid_0.770.model",
)


def test_export_run_to_npz_is_named_after_it_and_holds_its_weights(run, command):
    code, out, err = command("export", run, "--to", "npz")
    assert (code, err) == (0, "")
    assert out.startswith("train-001.npz  ")
    state = mc.load(run / "model.safetensors").state_dict()
    with np.load("train-001.npz") as archive:
        assert set(archive) == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(archive[name], array)


def test_export_model_file_to_safetensors_holds_weights_and_classes(run, command):
    from safetensors import safe_open

    code, out, _ = command("export", run / "model.safetensors", "--to", "safetensors")
    assert code == 0 and out.startswith("model.safetensors  ")
    with safe_open("model.safetensors", "numpy") as file:
        assert set(file.keys()) == mc.load(run / "model.safetensors").state_dict().keys()
        assert file.metadata()["classes"] == '["low", "mid", "top"]'


@pytest.mark.parametrize("form", ["safetensors", "npz", "seed"])
def test_export_never_overwrites(run, command, form):
    with open("mine", "w") as file:
        file.write("kept")
    code, _, err = command("export", run, "--to", form, "--out", "mine")
    assert code == 2 and "mine: exists; give a new name with --out" in err
    with open("mine") as file:
        assert file.read() == "kept"


def test_export_other_architecture_to_seed_ends_with_4_and_writes_nothing(run, command, tmp_path):
    before = set(tmp_path.iterdir())
    code, out, err = command("export", run, "--to", "seed")
    assert (code, out) == (4, "")
    assert "takes images of (1, 6, 6)" in err and "safetensors or npz" in err
    assert set(tmp_path.iterdir()) == before


def test_export_missing_run_ends_with_4_and_a_missing_folder_with_6(run, command):
    assert command("export", "none", "--to", "npz")[0] == 4
    code, _, err = command("export", run, "--to", "npz", "--out", "none/a.npz")
    assert code == 6 and "none/a.npz: No such file or directory" in err


@pytest.mark.parametrize("name", SEED_FILES)
def test_export_seed_file_to_seed_gives_the_same_bytes(data_dir, data, command, name):
    assert command("export", data_dir / name, "--to", "seed", "--out", "a.model")[0] == 0
    with open("a.model", "rb") as file:
        assert file.read() == (data_dir / name).read_bytes()


def test_export_seed_file_without_statistics_says_so(data_dir, data, command):
    code, _, err = command("export", data_dir / SEED_FILES[1], "--to", "npz", "--out", "a.npz")
    assert code == 0 and "holds no running mean and variance" in err
    with np.load("a.npz") as archive:
        assert "1.weight" in archive and "1.running_mean" not in archive
        assert archive["13.weight"].shape == (3, 4608)


def test_export_to_seed_tells_the_outputs_of_other_names(data, command):
    model = models.make("seed", (3, 224, 224), 2)
    model.classes = ["cat", "owl"]
    model.save("a.safetensors")
    code, out, err = command("export", "a.safetensors", "--to", "seed")
    assert code == 0 and out.startswith("a.model  ")
    assert err == "minicnn: note: the format holds no names; the outputs are 0 cat, 1 owl\n"


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_export_to_seed_says_that_the_temperature_is_left_out(data, command, temperature):
    model = models.make("seed", (3, 224, 224), 3)
    model.classes, model.temperature = ["bird", "dog", "panda"], temperature
    model.save("a.safetensors")
    code, _, err = command("export", "a.safetensors", "--to", "seed")
    assert code == 0 and ("holds no temperature" in err) == (temperature != 1)
