"""Sequential: training steps, answers, files."""

import numpy as np
import pytest

import minicnn as mc


def net(seed=0):
    return mc.Sequential(
        mc.Conv2d(1, 3, 3), mc.BatchNorm2d(3), mc.ReLU(), mc.Dropout(0.3),
        mc.Sequential(mc.AvgPool2d((2, 1)), mc.Linear(None, 6)), mc.GELU("tanh"),
        mc.Linear(6, 4, bias=False), seed=seed,
    )  # fmt: skip


def batch(n=6):
    g = np.random.default_rng(2)
    return g.normal(size=(n, 1, 6, 6)).astype(np.float32), g.integers(0, 4, n)


def trained(seed=0):
    model = net(seed).build((1, 6, 6))
    opt = mc.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        model.train_step(*batch(), mc.CrossEntropyLoss(), opt)
    return model


def test_a_step_with_a_loss_of_nan_changes_no_weight():
    model = net().build((1, 6, 6))
    opt, before = mc.SGD(model.parameters(), lr=0.1), model.flat_parameters.tobytes()
    x, y = batch()
    x[0, 0, 0, 0] = np.nan
    assert np.isnan(model.train_step(x, y, mc.CrossEntropyLoss(), opt))
    assert model.flat_parameters.tobytes() == before


def test_clip_norm_bounds_the_step():
    model = net().build((1, 6, 6))
    before = model.flat_parameters.copy()
    opt = mc.SGD(model.parameters(), lr=1.0)
    model.train_step(*batch(), mc.CrossEntropyLoss(), opt, clip_norm=1e-3)
    norm = np.linalg.norm((model.flat_parameters - before).astype(np.float64))
    assert norm == pytest.approx(1e-3, rel=0.01)  # weights near 0.5 store such steps to 1e-5


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_answers_do_not_depend_on_the_batch_size_or_the_mode(batch_size):
    model = trained()
    x, y = batch(11)
    expected = model.logits(x)
    np.testing.assert_allclose(model.eval()(x), expected, rtol=1e-5, atol=1e-6)
    for mode in (True, False):
        model.train(mode)
        assert model.logits(x, batch_size).tobytes() == expected.tobytes()
        assert model.evaluate(x, y, batch_size) == model.evaluate(x, y)
        assert np.array_equal(model.predict(x, batch_size), expected.argmax(axis=1))
        assert model.training is mode
    assert model.generator_steps() == {"3": 3}  # answers draw nothing


def test_evaluate_is_loss_and_accuracy_over_all_samples():
    model = trained()
    x, y = batch(11)
    logits = model.logits(x).astype(np.float64)
    right = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(11), y]
    found = model.evaluate(x, y, 4)
    assert found["loss"] == pytest.approx(right.mean(), rel=1e-6)
    assert found["accuracy"] == (logits.argmax(axis=1) == y).mean()


def test_a_saved_model_comes_back_byte_for_byte(tmp_path):
    model = trained(seed=2**64 - 1)
    model.classes = ["a", "b", "ç", "'\"\\"]
    model.preprocessing = {"mean": [0.5], "channels": "gray"}
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model.save(first)
    back = mc.load(first)
    back.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert repr(back) == repr(model) and back.seed == model.seed
    assert back.metadata() == model.metadata() and not back.training
    x, _ = batch()
    assert back.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()
    for name, array in model.state_dict().items():
        assert back.state_dict()[name].tobytes() == array.tobytes()


def test_a_loaded_model_goes_on_learning(tmp_path):
    model = trained()
    model.save(tmp_path / "m.safetensors")
    back = mc.load(tmp_path / "m.safetensors").train()
    losses = []
    for m in (model, back):
        m.load_generator_steps({"3": 9})
        opt = mc.SGD(m.parameters(), lr=0.1)
        losses.append([m.train_step(*batch(), mc.CrossEntropyLoss(), opt) for _ in range(3)])
    assert losses[0] == losses[1]


def test_an_unbuilt_model_with_open_sizes_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match=r"call model.build\(input_shape\)"):
        net().save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


class Double(mc.Layer):
    """A layer of the user's own, with an argument."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.prepare(x) * np.float32(self.factor)

    def backward(self, dy):
        return dy * np.float32(self.factor)


def test_a_custom_layer_is_loaded_only_when_its_class_is_given(tmp_path):
    model = mc.Sequential(mc.Linear(3, 2), mc.Sequential(Double(3.0)))
    path = tmp_path / "m.safetensors"
    model.save(path)
    with pytest.raises(mc.CheckpointError, match=r"layers\[0\].*'Double'.*custom_layers=\[…\]"):
        mc.load(path)
    back = mc.load(path, custom_layers=[Double])
    x = np.ones((2, 3), np.float32)
    assert back[1][0].factor == 3.0 and np.array_equal(back(x), model.eval()(x))


def test_repr_is_code_that_makes_the_model_again():
    model = net().build((1, 6, 6))
    again = eval(repr(model), vars(mc))
    assert repr(again) == repr(model)
    assert again.build((1, 6, 6)).flat_parameters.tobytes() == (
        net().build((1, 6, 6)).flat_parameters.tobytes()
    )
