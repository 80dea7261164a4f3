"""Architectures by name and from a file."""

import json

import numpy as np
import pytest

import minicnn as mc
from minicnn import models

SHAPES = {
    "mlp": (1, 8, 8), "lenet": (1, 28, 28), "cnn-s": (1, 8, 8), "cnn-m": (3, 32, 32),
    "seed": (3, 224, 224),
}  # fmt: skip


def write(tmp_path, value):
    path = tmp_path / "net.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_every_architecture_gives_a_score_for_each_class(name, shape):
    model = models.make(name, shape, 5)
    assert model.eval().forward(np.zeros((1, *shape), np.float32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lenet", 156 + 2416 + 48_120 + 10_164 + 850),  # the counts of LeCun's layers
        ("mlp", 65 * 128 + 129 * 10),
        # conv weights, two BatchNorm values a channel, the last layer
        ("cnn-s", 9 * (16 + 256 + 512 + 1024) + 2 * (16 + 16 + 32 + 32) + 330),
        ("cnn-m", 9 * (96 + 1024 + 2048 + 4096 + 8192 + 16_384) + 2 * 2 * 224 + 1290),
    ],
)
def test_architecture_has_the_parameters_counted_by_hand(name, parameters):
    assert models.make(name, SHAPES[name], 10).flat_parameters.size == parameters


def test_cnn_m_for_photos_has_the_parameters_counted_by_hand():
    model = models.make("cnn-m", (3, 64, 80), 10)
    weights = 9 * (3 * 24 + 24 * 48 + 48 * 96 + 96 * 192 + 192 * 256)
    assert model.flat_parameters.size == weights + 2 * (24 + 48 + 96 + 192 + 256) + 2570
    assert models.make("cnn-m", (3, 63, 80), 10).flat_parameters.size == 288_746


def test_seed_net_has_the_size_of_its_files():
    model = models.make("seed", (3, 224, 224), 3)
    assert 4 * model.flat_parameters.size == 446_988  # the variant with BatchNorm, no statistics
    assert model.layers[-1].in_features == 4608


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_architecture_survives_saving_and_loading(tmp_path, name):
    model = models.make(name, SHAPES[name], 4, seed=3).eval()
    model.save(tmp_path / "m.safetensors")
    x = np.random.default_rng(0).random((2, *SHAPES[name]), dtype=np.float32)
    np.testing.assert_array_equal(mc.load(tmp_path / "m.safetensors")(x), model(x))


def test_seed_decides_the_weights():
    first, same, other = (
        models.make("mlp", (1, 8, 8), 3, seed=s).flat_parameters for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("shape", "name"),
    [((1, 8, 8), "cnn-s"), ((3, 12, 12), "cnn-s"), ((1, 28, 28), "lenet"), ((3, 32, 32), "cnn-m"),
     ((1, 64, 64), "cnn-m")],
)  # fmt: skip
def test_auto_goes_by_the_shape_of_the_images(shape, name):
    assert models.choose(shape) == name
    auto, named = (models.make(n, shape, 3).metadata()["architecture"] for n in ("auto", name))
    assert auto == named


@pytest.mark.parametrize("name", ["cnn-s", "cnn-m"])
@pytest.mark.parametrize("size", [(4, 4), (9, 5), (33, 40), (64, 97)])
def test_convolutional_nets_take_any_size(name, size):
    assert models.make(name, (1, *size), 3).output_shape((1, *size)) == (3,)


def test_image_too_small_names_the_layer():
    with pytest.raises(mc.ShapeError, match="layer"):
        models.make("seed", (3, 8, 8), 3)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'resnet'; expected auto, mlp, lenet, cnn-s, cnn-m, seed"):
        models.make("resnet", (1, 8, 8), 3)


def test_file_gives_the_model_it_describes(tmp_path):
    model = models.make("lenet", (1, 28, 28), 10, seed=5)
    path = write(tmp_path, model.metadata()["architecture"])
    again = models.make(path, (1, 28, 28), 10, seed=5)
    np.testing.assert_array_equal(again.flat_parameters, model.flat_parameters)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "net.json: "),
        ("[" * 100_000, "net.json: "),
        ({}, "expected a list of layers"),
        ([{"type": "os.system"}], "not known here"),
        ([{"type": "Conv2d", "kernel": 3}], r"architecture\[0\] \(Conv2d\)"),
        ([{"type": "Flatten"}], "its output is 64; expected 5, one score for each class"),
        ([{"type": "Linear", "in_features": 3, "out_features": 5}], "net.json: layer 0"),
        ('"' + "x" * (1 << 20) + '"', "larger than"),
    ],
)
def test_file_that_describes_no_such_model_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        models.make(write(tmp_path, content), (1, 8, 8), 5)


@pytest.mark.parametrize("classes", [0, -1, 2.5, True])
def test_senseless_number_of_classes_is_refused(classes):
    with pytest.raises((TypeError, ValueError), match="classes"):
        models.make("mlp", (1, 8, 8), classes)
