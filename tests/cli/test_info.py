"""`minicnn info`."""

import minicnn as mc

from .conftest import only_object


def test_info_alone_describes_the_installation(data, command):
    found = only_object(command("info", "--json")[1])
    assert found["minicnn"] == mc.__version__
    assert found["threads"] == mc.get_num_threads()


def test_info_of_a_run_shows_settings_figures_and_layers(run, command):
    code, out, _ = command("info", run)
    assert code == 0
    for words in (
        "complete",
        "optimizer     ",
        "adamw",
        "val_accuracy",
        "Linear(",
        "low, mid, top",
    ):
        assert words in out


def test_info_json_of_a_run_is_one_object(run, command):
    found = only_object(command("info", run, "--json")[1])
    assert found["complete"] is True
    assert found["settings"]["arch"] == "mlp"


def test_info_of_an_unfinished_run_says_how_to_continue(run, command):
    (run / "summary.json").unlink()
    assert f"minicnn train --resume {run}" in command("info", run)[1]


def test_info_of_a_model_file(run, command):
    found = only_object(command("info", run / "model.safetensors", "--json")[1])
    assert found["parameters"] == 5123
    assert found["classes"] == ["low", "mid", "top"]
    assert "multiply-adds" in command("info", run / "model.safetensors")[1]


def test_info_of_data_counts_every_class(data, command):
    found = only_object(command("info", data, "--json")[1])
    assert found["images"] == {"train": [20, 20, 20]}
    assert found["image_shape"] == [1, 6, 6]
    out = command("info", data)[1]
    assert "60 images  6×6 grey  uint8  3 classes" in out


def test_info_of_nothing_known_ends_with_3(data, command):
    code, _, err = command("info", "nothing")
    assert code == 3 and "nothing: no such file" in err
