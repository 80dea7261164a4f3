"""Weights for other programs: what is written is what the model holds, and answers stay."""

import json

import numpy as np
import pytest
from safetensors import safe_open

import minicnn as mc
from minicnn import models
from minicnn.interop import load_seed_model, save_seed_model, write_npz, write_safetensors
from minicnn.interop.seed import CLASSES, seed_layers
from minicnn.interop.seed_export import to_seed_model

TRAINED = "seed/iter_395000_train_0.918_valid_0.913.model"
RED_FIRST = {"channels": 3, "size": [224, 224], "divisor": 255, "background": None}


def small_net():
    return mc.Sequential(
        mc.Conv2d(1, 2, 3), mc.BatchNorm2d(2), mc.ReLU(), mc.Flatten(), mc.Linear(32, 3), seed=1
    ).build((1, 6, 6))


def seed_net(classes=CLASSES, batchnorm=True, preprocessing=RED_FIRST):
    """The seed's net with weights that make its outputs differ by much."""
    model = mc.Sequential(*seed_layers(batchnorm, len(classes)), seed=3).build((3, 224, 224))
    model.classes, model.preprocessing = list(classes), dict(preprocessing)
    return model.eval()


def pictures():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), np.uint8)


def test_npz_holds_the_state_and_repeats_to_the_byte(tmp_path):
    state = small_net().state_dict()
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, state)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        again = dict(archive)
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)


def test_safetensors_holds_the_state_and_the_notes(tmp_path):
    state = small_net().state_dict()
    write_safetensors(tmp_path / "a.safetensors", state, {"classes": ["ä", "b"]})
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert set(file.keys()) == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
            assert file.get_tensor(name).shape == array.shape
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["classes"]) == ["ä", "b"]


@pytest.mark.slow
def test_safetensors_of_the_seed_loads_in_pytorch_and_gives_the_logits(data_dir, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    nn = torch.nn
    model = load_seed_model(data_dir / TRAINED)
    write_safetensors(tmp_path / "a.safetensors", model.state_dict())
    layers = [nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(2)]
    for before, channels in ((16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, channels, 3, 2), nn.ReLU()]
    twin = nn.Sequential(*layers)
    twin.add_module("flatten", nn.Flatten())  # a Linear of minicnn flattens by itself
    twin.add_module("9", nn.Linear(4608, 3))
    twin.load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
    x = pictures().astype(np.float32) / np.float32(255)
    with torch.inference_mode():
        expected = twin(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.logits(x), expected, rtol=0, atol=1e-4)  # as for the seed's


def test_seed_model_in_and_out_keeps_every_byte(data_dir, tmp_path):
    model = load_seed_model(data_dir / TRAINED)
    model.save(tmp_path / "a.safetensors")
    save_seed_model(tmp_path / "a.model", mc.load(tmp_path / "a.safetensors"))
    assert (tmp_path / "a.model").read_bytes() == (data_dir / TRAINED).read_bytes()


@pytest.mark.parametrize(("batchnorm", "size"), [(False, 445_068), (True, 448_908)])
def test_trained_model_answers_alike_when_blue_comes_first(tmp_path, batchnorm, size):
    names = ["bird", "dog", "panda"]  # sorted, as a folder's classes are
    model = seed_net(names, batchnorm)
    model.train().forward(pictures())  # so that running statistics are not those of the start
    model.eval()
    save_seed_model(tmp_path / "a.model", model)
    assert (tmp_path / "a.model").stat().st_size == size
    again = load_seed_model(tmp_path / "a.model")
    expected = model.logits(pictures())[:, [names.index(name) for name in CLASSES]]
    got = again.logits(np.ascontiguousarray(pictures()[:, ::-1]))
    # Reversed channels are summed in another order: float32 noise of 27 terms a layer.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected - expected.mean(axis=1, keepdims=True)).max() > 1e-3


def test_architecture_by_name_is_the_one_that_the_format_holds(tmp_path):
    model = models.make("seed", (3, 224, 224), 4)
    save_seed_model(tmp_path / "a.model", model)
    assert load_seed_model(tmp_path / "a.model").output_shape((3, 224, 224)) == (4,)


def test_classes_of_other_names_keep_their_order():
    model = seed_net(["a", "b", "c"])
    content = to_seed_model(model)
    np.testing.assert_array_equal(content.tensors["13.weight"], model.state_dict()["13.weight"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (small_net, "takes images of (1, 6, 6), expected (3, 224, 224)"),
        (lambda: models.make("cnn-m", (3, 224, 224), 3), "layer 0 Conv2d(in_channels=3, out_ch"),
        (lambda: models.make("seed", (3, 223, 223), 3), "takes images of (3, 223, 223)"),
        (lambda: mc.Sequential(*seed_layers(True, 3)[:-1]), "has 13 layers, expected 14"),
        (lambda: mc.Sequential(*seed_layers(True, 3), mc.ReLU()), "has 15 layers, expected 14"),
        (lambda: mc.Sequential(), "has 0 layers"),
        (lambda: seed_net(preprocessing=RED_FIRST | {"divisor": 1}), "divided by 255"),
    ],
)
def test_model_that_the_seed_format_cannot_hold_is_refused(tmp_path, make, said):
    with pytest.raises(ValueError) as caught:
        save_seed_model(tmp_path / "a.model", make())
    assert said in str(caught.value) and "export others as safetensors or npz" in str(caught.value)
    assert not (tmp_path / "a.model").exists()
