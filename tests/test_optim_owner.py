"""Training steps with an optimizer that moves another model's parameters."""

import numpy as np
import pytest

import minicnn as mc


def two_nets():
    return [mc.Sequential(mc.Flatten(), mc.Linear(4, 3), seed=s) for s in (0, 1)]


def one_step(model, optimizer):
    x, y = np.ones((2, 1, 2, 2), np.float32), np.array([0, 2])
    return model.train_step(x, y, mc.CrossEntropyLoss(), optimizer)


def test_train_step_with_another_models_optimizer_is_refused_and_changes_nothing():
    model, other = (mc.Sequential(mc.Flatten(), mc.Dropout(), mc.Linear(4, 3)) for _ in range(2))
    optimizer = mc.SGD(other.parameters(), lr=1.0)
    one_step(other, optimizer)  # so that it has been found right once
    before = [m.flat_parameters.tobytes() for m in (model, other)]
    for _ in range(2):
        with pytest.raises(ValueError, match="not this model's; make it from model.parameters"):
            one_step(model, optimizer)
    assert [m.flat_parameters.tobytes() for m in (model, other)] == before
    assert model.generator_steps() == {"1": 0} and optimizer.steps == 1


def test_train_step_of_a_model_without_weights_yet_refuses_a_foreign_optimizer():
    model, other = two_nets()
    with pytest.raises(ValueError, match="not this model's"):
        one_step(model, mc.SGD(other.parameters(), lr=1.0))


def test_train_step_with_parameters_of_two_models_is_refused():
    model, other = two_nets()
    optimizer = mc.SGD([*model.parameters(), *other.parameters()], lr=1.0)
    with pytest.raises(ValueError, match="not this model's"):
        one_step(model, optimizer)


def test_train_step_with_some_of_the_parameters_moves_only_these():
    model, _ = two_nets()
    weight, bias = model.parameters()
    before = weight.data.copy(), bias.data.copy()
    optimizer = mc.SGD([bias], lr=1.0)
    for _ in range(2):
        one_step(model, optimizer)
    assert np.array_equal(weight.data, before[0]) and not np.array_equal(bias.data, before[1])


def test_optimizer_may_take_turns_between_a_model_and_the_one_around_it():
    inner, _ = two_nets()
    outer = mc.Sequential(mc.Identity(), inner)
    optimizer = mc.SGD(outer.parameters(), lr=0.1)
    for model in (outer, inner, outer):
        one_step(model, optimizer)
    assert optimizer.steps == 3


def test_owner_is_looked_up_once_and_not_in_every_step(monkeypatch):
    model, _ = two_nets()
    optimizer = mc.SGD(model.parameters(), lr=0.1)
    one_step(model, optimizer)
    monkeypatch.setattr(mc.Sequential, "parameters", None)
    one_step(model, optimizer)
