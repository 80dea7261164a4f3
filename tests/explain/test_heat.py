"""Grad-CAM against its two equations worked out by hand, and what it leaves alone."""

import numpy as np
import pytest

import minicnn as mc
from minicnn.explain import default_layer, feature_layers, grad_cam


def pooled_net(seed=0):
    """Conv-BN-ReLU, mean of each channel, scores: the case that CAM solves in closed form."""
    model = mc.Sequential(
        mc.Conv2d(1, 4, 3, padding=1), mc.BatchNorm2d(4), mc.ReLU(),
        mc.GlobalAvgPool2d(), mc.Flatten(), mc.Linear(4, 3), seed=seed,
    ).build((1, 6, 8))  # fmt: skip
    model.train().forward(picture(5)[None].repeat(2, 0) * [[[[1]]], [[[0.5]]]])  # some statistics
    return model.eval()


def flat_net(seed=0):
    return mc.Sequential(
        mc.Conv2d(2, 3, 3), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(18, 4), seed=seed
    ).build((2, 6, 8))


def picture(seed=0, channels=1):
    return np.random.default_rng(seed).normal(size=(channels, 6, 8)).astype(np.float32)


def test_pooled_net_map_is_the_weighted_sum_of_the_features():
    model, x = pooled_net(), picture()
    heat = grad_cam(model, x, target=2)
    with mc.inference():
        features = model[2](model[1](model[0](x[None])))[0]
    weights = model[5].weight.data[2] / 48  # the gradient of a mean over 6·8 places
    expected = np.maximum(np.einsum("k,khw->hw", weights, features), 0)
    # float32 sums of four terms
    np.testing.assert_allclose(heat.raw, expected, rtol=1e-5, atol=1e-7)
    assert expected.max() > 0
    assert heat.layer == "2"


def test_flattened_net_weighs_by_the_mean_of_its_gradients():
    model, x = flat_net(), picture(channels=2)
    heat = grad_cam(model, x, target=1, layer=2)
    with mc.inference():
        features = model[2](model[1](model[0](x[None])))[0]
    weights = model[3].weight.data[1].reshape(3, 2, 3).mean(axis=(1, 2))
    expected = np.maximum(np.einsum("k,khw->hw", weights, features), 0)
    np.testing.assert_allclose(heat.raw, expected, rtol=1e-5, atol=1e-6)


def test_map_before_the_pooling_agrees_with_finite_differences():
    model, x = flat_net(3), picture(2, channels=2)
    heat = grad_cam(model, x, target=0, layer="0")
    with mc.inference():
        features = model[0](x[None])[0].astype(np.float64)

        def score(values):
            y = values[None].astype(np.float32)
            for layer in model.layers[1:]:
                y = layer(y)
            return float(y[0, 0])

        slopes = np.zeros_like(features)
        for place in np.ndindex(features.shape):
            step = np.zeros_like(features)
            step[place] = 1e-3
            slopes[place] = (score(features + step) - score(features - step)) / 2e-3
    weights = slopes.mean(axis=(1, 2))
    expected = np.maximum(np.einsum("k,khw->hw", weights, features), 0)
    # float32 scores of size 1 differ by 6e-8 / 2e-3 = 3e-5 in a slope, 3 times that in a sum
    np.testing.assert_allclose(heat.raw, expected, rtol=0, atol=2e-4)
    assert expected.max() > 0.01


def test_map_is_scaled_to_one_and_enlarged_to_the_picture():
    heat = grad_cam(flat_net(), picture(channels=2), layer=2)
    assert heat.raw.shape == (2, 3) and heat.values.shape == (6, 8)
    assert heat.values.dtype == np.float32
    assert heat.values.min() >= 0 and heat.values.max() <= 1
    place = np.unravel_index(heat.raw.argmax(), (2, 3))
    # Half-pixel centres: output cell (i, j) lies over rows 3 i … 3 i + 2.
    top = np.unravel_index(heat.values.argmax(), (6, 8))
    assert (top[0] // 3, min(int((top[1] + 0.5) / 8 * 3), 2)) == place


def test_target_left_out_is_the_most_likely_class():
    model, x = pooled_net(), picture()
    heat = grad_cam(model, x)
    probabilities = model.predict_proba(x[None])[0]
    assert heat.target == probabilities.argmax()
    assert heat.probability == pytest.approx(probabilities.max(), abs=1e-6)  # float32 softmax


def test_bytes_are_scaled_as_in_predict():
    model = pooled_net()
    x = np.random.default_rng(0).integers(0, 256, (1, 6, 8), np.uint8)
    heat = grad_cam(model, x, target=0)
    same = grad_cam(model, x / np.float32(255), target=0)
    np.testing.assert_array_equal(heat.raw, same.raw)


def test_class_that_nothing_speaks_for_has_an_empty_map():
    model = pooled_net()
    model[5].weight.data[1] = -1
    heat = grad_cam(model, picture(), target=1)
    assert not heat.raw.any() and not heat.values.any()


def test_explaining_changes_nothing_of_the_model():
    model, x = pooled_net(), picture()
    model.train()
    model.flat_gradients[:] = 7
    before = {k: v.copy() for k, v in model.state_dict().items()}
    grad_cam(model, x)
    assert model.training and all(layer.training for layer in model.layers)
    assert (model.flat_gradients == 7).all()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_default_layer_is_the_last_convolution_with_what_belongs_to_it():
    conv, bn, relu, pool = mc.Conv2d, mc.BatchNorm2d, mc.ReLU, mc.MaxPool2d
    assert default_layer(mc.Sequential(conv(1, 2, 3), relu(), pool(2), mc.Linear(8, 2))) == "1"
    assert default_layer(mc.Sequential(conv(1, 2, 3), bn(2), relu(), relu(), pool(2))) == "3"
    assert default_layer(mc.Sequential(conv(1, 2, 3), conv(2, 2, 3), pool(2))) == "1"
    nested = mc.Sequential(mc.Sequential(conv(1, 2, 3), relu()), pool(2), mc.Flatten())
    assert default_layer(nested) == "0.1"


def test_nested_chain_gives_the_map_of_the_plain_one():
    plain, x = flat_net(), picture(channels=2)
    nested = mc.Sequential(mc.Sequential(*plain.layers[:2]), *plain.layers[2:]).build((2, 6, 8))
    assert feature_layers(nested) == ["0.0", "0.1", "1"]
    np.testing.assert_array_equal(grad_cam(nested, x, 1, "0.1").raw, grad_cam(plain, x, 1, "1").raw)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"target": 3}, ValueError, "target is 3; expected 0 to 2"),
        ({"target": "dog"}, TypeError, "target is 'dog'"),
        ({"layer": 5}, ValueError, "layer '5' has no output of channels.*0, 1, 2, 3"),
        ({"layer": "x"}, ValueError, "layer 'x' has no output"),
        ({"x": np.zeros((1, 1, 6, 8), np.float32)}, ValueError, "expected one picture"),
        ({"x": np.zeros((2, 6, 8), np.float32)}, mc.ShapeError, "layer 0 Conv2d"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        grad_cam(pooled_net(), **({"x": picture()} | arguments))


def test_model_without_convolution_is_refused():
    model = mc.Sequential(mc.Flatten(), mc.Linear(48, 2)).build((1, 6, 8))
    with pytest.raises(ValueError, match="no convolution"):
        grad_cam(model, picture())


def test_model_without_scores_is_refused():
    model = mc.Sequential(mc.Conv2d(1, 2, 3)).build((1, 6, 8))
    with pytest.raises(ValueError, match="expected one score a class"):
        grad_cam(model, picture())
