"""`minicnn explain`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn.cli.explain import _line
from minicnn.explain import grad_cam

from .conftest import only_object

TRAINED = "seed/iter_395000_train_0.918_valid_0.913.model"
GREY = {"channels": 1, "size": [6, 6], "divisor": 255, "background": None}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A small net with convolutions in net.safetensors, and two pictures, a.png and b.png."""
    monkeypatch.chdir(tmp_path)
    net = mc.Sequential(
        mc.Conv2d(1, 4, 3, padding=1), mc.ReLU(), mc.Conv2d(4, 4, 3), mc.ReLU(),
        mc.Flatten(), mc.Linear(64, 3), seed=4,
    ).build((1, 6, 6))  # fmt: skip
    net[5].weight.data[1] = 0.5  # so that every feature speaks for mid
    net.classes, net.preprocessing = ["low", "mid", "top"], dict(GREY)
    net.save("net.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6), np.uint8)
    for name, values in zip(("a.png", "b.png"), pixels, strict=True):
        Image.fromarray(values).save(name)
    return net.eval(), pixels


def test_explain_writes_a_png_for_each_picture_and_prints_a_line(model, command):
    code, out, err = command("explain", "net.safetensors", "a.png", "b.png", "--class", "mid")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines] == [["a.png", "mid"], ["b.png", "mid"]]
    assert lines[0].endswith(str(Path("explain/a.gradcam.png")))
    for name in ("a", "b"):
        with Image.open(f"explain/{name}.gradcam.png") as image:
            assert (image.format, image.size) == ("PNG", (896, 448))


@pytest.mark.parametrize(("area", "said"), [(0.2, False), (0.5, True), (0.7, True)])
def test_explain_says_when_deleting_the_places_does_no_more_than_chance(area, said):
    found = {"class": "a", "probability": 0.9, "deletion": area, "deletion_random": 0.5,
             "random_weights_similarity": 0.0, "out": "x.png"}  # fmt: skip
    assert ("no better" in _line("x", 1, found)) is said


def test_explain_json_agrees_with_grad_cam(model, command):
    net, pixels = model
    _, out, _ = command(
        "explain", "net.safetensors", "a.png", "--layer", "0", "--out", "here/there", "--json"
    )
    (found,) = only_object(out)["explanations"]
    heat = grad_cam(net, pixels[0][None], layer=0)
    assert found["class"] == net.classes[heat.target]
    assert found["probability"] == pytest.approx(heat.probability)
    assert found["layer"] == "0"
    assert 0 <= found["deletion"] <= 1 and 0 <= found["deletion_random"] <= 1
    assert -1 <= found["random_weights_similarity"] <= 1
    assert Path("here/there/a.gradcam.png").is_file()


def test_explain_default_layer_is_the_last_convolution_with_its_activation(model, command):
    _, out, _ = command("explain", "net.safetensors", "a.png", "--json")
    assert only_object(out)["explanations"][0]["layer"] == "3"


def test_explain_pictures_of_one_name_get_files_of_their_own(model, command):
    Path("other").mkdir()
    Path("b.png").rename("other/a.png")
    Path("a-2.png").write_bytes(Path("a.png").read_bytes())
    command("explain", "net.safetensors", "a.png", "other/a.png", "a-2.png", "--class", "mid")
    assert sorted(path.name for path in Path("explain").iterdir()) == [
        "a-2-2.gradcam.png", "a-2.gradcam.png", "a.gradcam.png",
    ]  # fmt: skip


def test_explain_folder_explains_every_picture_in_it(model, command):
    for name in ("in/1/a.png", "in/2/a.png", "in/.hidden.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(Path("a.png").read_bytes())
    code, out, _ = command("explain", "net.safetensors", "in", "b.png", "--json")
    found = {entry["path"]: entry for entry in only_object(out)["explanations"]}
    assert code == 0 and list(found) == ["in/1/a.png", "in/2/a.png", "b.png"]
    assert [Path(entry["out"]).name for entry in found.values()] == [
        "a.gradcam.png", "a-2.gradcam.png", "b.gradcam.png",
    ]  # fmt: skip
    alone = only_object(command("explain", "net.safetensors", "a.png", "--json")[1])
    figures = ("probability", "deletion", "random_weights_similarity")
    for name in figures:
        assert found["in/2/a.png"][name] == alone["explanations"][0][name]


def test_explain_empty_folder_ends_with_3(model, command):
    Path("empty").mkdir()
    code, out, err = command("explain", "net.safetensors", "empty")
    assert (code, out) == (3, "") and "empty: holds no pictures" in err


def test_explain_broken_picture_is_named_and_the_others_are_explained(model, command):
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    code, out, err = command("explain", "net.safetensors", "broken.png", "a.png", "--json")
    result = only_object(out)
    assert code == 3
    assert [entry["path"] for entry in result["errors"]] == ["broken.png"]
    assert [entry["path"] for entry in result["explanations"]] == ["a.png"]
    assert "minicnn: error: broken.png: damaged" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layer", "4"), "--layer 4: net.safetensors has no such layer"),
        (("--layer", "conv"), "expected one of 0, 1, 2, 3"),
        (("--class", "dog"), "--class dog: the model knows low, mid, top"),
    ],
)
def test_explain_unknown_layer_or_class_ends_with_2(model, command, words, said):
    code, out, err = command("explain", "net.safetensors", "a.png", *words)
    assert (code, out) == (2, "") and said in err
    assert not Path("explain").exists()


def test_explain_model_without_convolution_ends_with_4(run, command):
    Image.fromarray(np.zeros((6, 6), np.uint8)).save("a.png")
    code, _, err = command("explain", run, "a.png")
    assert code == 4 and "no convolution" in err


def test_explain_class_that_nothing_speaks_for_says_that_the_map_is_empty(model, command):
    net, _ = model
    net[5].weight.data[2] = -1
    net.save("net.safetensors")
    code, _, err = command("explain", "net.safetensors", "a.png", "--class", "top")
    assert code == 0
    assert "a.png: no place of layer 3 speaks for top, so the map is empty" in err


def test_explain_folder_that_cannot_be_made_ends_with_6(model, command):
    Path("taken").write_text("a file")
    assert command("explain", "net.safetensors", "a.png", "--out", "taken")[0] == 6


def test_explain_seed_model_shows_the_photo_with_red_first(data_dir, tmp_path, command):
    out = tmp_path / "out"
    photo = data_dir / "seed" / "images" / "bird.jpg"
    code, text, _ = command("explain", data_dir / TRAINED, photo, "--out", out, "--json")
    (found,) = only_object(text)["explanations"]
    assert (code, found["class"], found["layer"]) == (0, "bird", "8")
    with Image.open(out / "bird.gradcam.png") as image, Image.open(photo) as original:
        shown = np.asarray(image)[:, :448].mean(axis=(0, 1))
        expected = np.asarray(original.convert("RGB")).mean(axis=(0, 1))
    # Resizing keeps the means to a level or two; red and blue differ by twenty here.
    np.testing.assert_allclose(shown, expected, atol=4)
    assert expected[0] - expected[2] > 12
