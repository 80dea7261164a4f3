"""Calibration: cases worked out by hand, slow and plain oracles, scikit-learn, SciPy, errors."""

import math

import numpy as np
import pytest

import minicnn as mc
from minicnn.calibration import (
    brier_score,
    divide_logits,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability,
)

SCORES = (brier_score, expected_calibration_error, negative_log_likelihood, reliability)


def answers(n=500, classes=5, sureness=1.0, seed=0):
    """Logits whose probabilities are exact, times `sureness`; and labels drawn from them."""
    g = np.random.default_rng(seed)
    logits = 2 * g.normal(size=(n, classes))
    labels = np.array([g.choice(classes, p=p) for p in probabilities(logits)])
    return sureness * logits, labels


def nll_at(logits, labels, temperature):
    return negative_log_likelihood(labels, probabilities(logits, temperature))


# --- the temperature --------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.5, 3.0, 40.0])
@pytest.mark.parametrize(("right", "wrong"), [(9, 1), (3, 2), (99, 1)])
def test_temperature_of_equal_margins_is_the_solved_one(margin, right, wrong):
    # Two classes, each answer by the same margin a: sigmoid(a / T) = share of the right ones.
    logits = np.tile([[margin, 0.0]], (right + wrong, 1))
    labels = np.repeat([0, 1], [right, wrong])
    expected = margin / math.log(right / wrong)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sureness", [0.1, 0.5, 1, 3, 20])
def test_temperature_is_where_a_scan_finds_the_least_loss(sureness):
    logits, labels = answers(sureness=sureness)
    found = fit_temperature(logits, labels)
    steps = np.linspace(-0.02, 0.02, 41)  # the minimum is flat: 1 % beside it shows clearly
    losses = [nll_at(logits, labels, found * math.exp(step)) for step in steps]
    assert int(np.argmin(losses)) == 20
    assert found == pytest.approx(sureness, rel=0.15)  # 500 drawn labels


def test_temperature_equals_that_of_another_optimizer():
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = answers(sureness=4)
    best = optimize.minimize_scalar(lambda t: nll_at(logits, labels, t), (1, 8), tol=1e-12)
    # The loss is flat to rounding within the square root of the machine precision.
    assert fit_temperature(logits, labels) == pytest.approx(best.x, rel=1e-6)


def test_temperature_without_a_wrong_answer_is_one():
    assert fit_temperature(np.eye(4) * 3, np.arange(4)) == 1


def test_temperature_of_a_model_no_better_than_chance_is_the_largest():
    logits, labels = answers()
    assert fit_temperature(-logits, labels) == 100


def test_temperature_of_timid_logits_is_the_smallest():
    logits, labels = answers()
    assert fit_temperature(logits * 1e-6, labels) == 0.01


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_temperature_scales_with_the_logits_and_ignores_shifts(size, shift):
    logits, labels = answers(300)
    small = fit_temperature(logits, labels) * size
    expected = min(max(small, 0.01), 100)
    assert fit_temperature(logits * size + shift, labels) == pytest.approx(expected, rel=1e-6)


def test_temperature_where_one_answer_of_very_sure_ones_is_wrong_is_finite_and_least():
    logits = np.tile(np.float32([[2000, 0, 0]]), (50, 1))
    labels = np.zeros(50, int)
    labels[7] = 2
    found = fit_temperature(logits, labels)
    assert found == 100  # the exact one lies beyond
    logits = logits / 100
    found = fit_temperature(logits, labels)
    around = [nll_at(logits, labels, found * f) for f in (0.98, 1, 1.02)]
    assert around[1] == min(around)


def test_temperature_makes_surer_answers_honest():
    logits, labels = answers(4000, sureness=3)
    fresh, truth = answers(4000, sureness=3, seed=1)
    temperature = fit_temperature(logits, labels)
    before, after = (probabilities(fresh, t) for t in (1, temperature))
    assert expected_calibration_error(truth, after) < 0.04
    assert expected_calibration_error(truth, before) > 0.15
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))


# --- the scores -------------------------------------------------------------------------------


def test_scores_by_hand():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    labels = [0, 1, 1]
    assert negative_log_likelihood(labels, p) == pytest.approx(
        -(math.log(0.9) + math.log(0.6) + math.log(0.3)) / 3
    )
    assert brier_score(labels, p) == pytest.approx((2 * 0.1**2 + 2 * 0.4**2 + 2 * 0.7**2) / 3)
    found = reliability(labels, p, bins=2)
    assert found.count.tolist() == [0, 3]
    assert found.confidence.tolist() == pytest.approx([0, 2.2 / 3])
    assert found.accuracy.tolist() == pytest.approx([0, 2 / 3])
    assert expected_calibration_error(labels, p, bins=2) == pytest.approx(0.2 / 3)


def test_bins_are_open_below_and_closed_above():
    p = np.array([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0], [1.0, 0.0, 0.0]])
    assert reliability([0, 0, 0], p, bins=4).count.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("bins", [1, 7, 15, 100])
@pytest.mark.parametrize("classes", [1, 2, 10])
def test_reliability_equals_plain_loops(bins, classes):
    logits, labels = answers(200, classes)
    p = probabilities(logits)
    found, error = reliability(labels, p, bins), 0.0
    for m in range(bins):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(p, labels, strict=True)
            if m / bins < row.max() <= (m + 1) / bins
        ]
        assert found.count[m] == len(inside)
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            assert found.confidence[m] == pytest.approx(confidence)
            assert found.accuracy[m] == pytest.approx(accuracy)
            error += len(inside) / len(p) * abs(confidence - accuracy)
    assert expected_calibration_error(labels, p, bins) == pytest.approx(error, abs=1e-12)


def test_scores_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = answers(300, 4)
    p = probabilities(logits)
    assert negative_log_likelihood(labels, p) == pytest.approx(metrics.log_loss(labels, p))
    two = probabilities(logits[:, :2])
    binary = metrics.brier_score_loss(labels % 2, two[:, 1])
    assert brier_score(labels % 2, two) == pytest.approx(2 * binary)


def test_a_probability_of_zero_costs_much_but_is_finite():
    assert negative_log_likelihood([1], np.array([[1.0, 0.0]])) == pytest.approx(708.4, abs=0.1)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("p", "labels", "error", "match"),
    [
        ([[0.5, 0.5]], [2], ValueError, "label 0 is 2; expected 0 to 1"),
        ([[0.5, 0.5]], [0, 1], ValueError, "2 for 1 samples"),
        ([[0.5, 0.5]], [0.0], TypeError, "integers"),
        ([[1, 0]], [0], TypeError, "expected floats"),
        ([0.5, 0.5], [0], ValueError, r"shape \(2,\)"),
        ([[0.5, 0.6]], [0], ValueError, "sample 0 are negative or add up to 1.1"),
        ([[1.5, -0.5]], [0], ValueError, "negative"),
        ([[math.nan, 1.0]], [0], ValueError, "finite"),
    ],
)
def test_scores_of_what_does_not_fit_are_refused(score, p, labels, error, match):
    with pytest.raises(error, match=match):
        score(labels, np.array(p))


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "2", None, True])
def test_a_temperature_that_is_none_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="temperature"):
        probabilities(np.zeros((1, 2)), bad)


# --- the model --------------------------------------------------------------------------------


def net():
    model = mc.Sequential(mc.Flatten(), mc.Linear(6, 4)).build((1, 2, 3))
    model.load_state_dict({k: v * 20 for k, v in model.state_dict().items()})
    return model, np.random.default_rng(1).random((9, 1, 2, 3)).astype(np.float32)


def test_model_divides_its_logits_by_its_temperature(tmp_path):
    model, x = net()
    plain = model.predict_proba(x)
    model.temperature = 2.5
    warm = model.predict_proba(x)
    # float32 softmax of float32 quotients: a few roundings of numbers below 1
    assert np.abs(warm - probabilities(model.logits(x), 2.5)).max() < 1e-6
    assert not np.allclose(warm, plain, atol=1e-3)
    assert model.predict_proba(x, temperature=1).tobytes() == plain.tobytes()
    assert np.array_equal(model.predict(x), plain.argmax(axis=1))

    model.save(tmp_path / "model.safetensors")
    loaded = mc.load(tmp_path / "model.safetensors")
    assert loaded.temperature == 2.5
    assert loaded.predict_proba(x).tobytes() == warm.tobytes()


def test_uncalibrated_model_file_says_nothing_of_temperature():
    assert "temperature" not in net()[0].metadata()


@pytest.mark.parametrize("bad", [0, -1.0, "2", [1]])
def test_model_file_with_a_wrong_temperature_is_refused(tmp_path, bad):
    model, _ = net()
    model.temperature = bad
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(mc.CheckpointError, match=r"model\.safetensors: temperature is"):
        mc.load(tmp_path / "model.safetensors")


def test_division_by_a_small_temperature_leaves_finite_probabilities():
    model, x = net()
    model.load_state_dict({k: v * np.float32(1e30) for k, v in model.state_dict().items()})
    assert np.isfinite(model.predict_proba(x, temperature=1e-9)).all()
    assert divide_logits(np.zeros((1, 2), np.float32), 2).dtype == np.float32


def test_explanation_gives_the_calibrated_probability():
    model = mc.Sequential(mc.Conv2d(1, 4, 3), mc.ReLU(), mc.Linear(None, 3)).build((1, 6, 6))
    x = np.random.default_rng(0).random((1, 6, 6)).astype(np.float32)
    model.temperature = 0.05
    heat = mc.explain.grad_cam(model, x)
    assert heat.probability == pytest.approx(model.predict_proba(x[None]).max(), rel=1e-5)
    assert heat.probability > model.predict_proba(x[None], temperature=1).max() + 0.01
