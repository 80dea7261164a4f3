"""The public API as its users write it down, and one model used from several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minicnn as mc


def lenet(seed=0):
    return mc.Sequential(
        mc.Conv2d(1, 6, 5, padding=2), mc.ReLU(), mc.MaxPool2d(2),
        mc.Conv2d(6, 16, 5),           mc.ReLU(), mc.MaxPool2d(2),
        mc.Flatten(), mc.Linear(400, 120), mc.ReLU(), mc.Linear(120, 84), mc.ReLU(),
        mc.Linear(84, 10),
        seed=seed)  # fmt: skip


def pictures(n=12):
    g = np.random.default_rng(0)
    return g.random((n, 1, 28, 28), np.float32), g.integers(0, 10, n)


def test_the_contract_of_the_public_api_runs_as_written(tmp_path, capsys):
    (x, y), (xv, yv) = pictures(), pictures(5)
    model = lenet()
    assert "61,706" in model.summary((1, 28, 28))  # parameters of LeNet-5 with ten classes

    opt = mc.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = mc.CrossEntropyLoss()

    logits = model(x)
    assert logits.shape == (12, 10) and logits.dtype == np.float32
    assert model.eval() is model and model.train() is model
    loss = loss_fn(logits, y)
    assert type(loss) is float
    dx = model.backward(loss_fn.backward())
    assert dx.shape == x.shape and all(np.any(p.grad) for p in model.parameters())
    opt.step()

    assert type(model.train_step(x, y, loss_fn, opt)) is float

    history = model.fit(
        x,
        y,
        epochs=2,
        batch_size=8,
        optimizer=opt,
        loss=loss_fn,
        validation_data=(xv, yv),
        callbacks=[mc.EarlyStopping(patience=3)],
        seed=0,
    )
    assert len(history) == 2
    assert model.evaluate(xv, yv).keys() == {"loss", "accuracy"}
    labels, probabilities = model.predict(xv), model.predict_proba(xv)
    assert labels.shape == (5,) and probabilities.shape == (5, 10)
    assert np.array_equal(labels, probabilities.argmax(axis=1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)  # ten roundings

    path = tmp_path / "model.safetensors"
    model.save(path)
    model = mc.load(path)
    sd = model.state_dict()
    model.load_state_dict(sd, strict=True)
    assert np.array_equal(model.predict(xv), labels)
    assert mc.get_num_threads() >= 1 and mc.show_config()
    assert mc.datasets.load_digits().images.shape == (1797, 1, 8, 8)
    assert capsys.readouterr() == ("", "")  # the library never prints


def four_steps_and_train_step(optimizer):
    """Losses and parameters of three steps by hand, and of the same by `train_step`."""
    x, y = pictures()
    one, other, loss_fn = lenet(), lenet(), mc.CrossEntropyLoss()
    opt, other_opt = optimizer(one.parameters()), optimizer(other.parameters())
    losses, other_losses = [], []
    for _ in range(3):
        losses.append(loss_fn(one(x), y))
        one.backward(loss_fn.backward())
        opt.step()
        other_losses.append(other.train_step(x, y, mc.CrossEntropyLoss(), other_opt))
    return (losses, one.flat_parameters), (other_losses, other.flat_parameters)


def test_train_step_is_the_four_steps_to_the_bit_without_the_engine(monkeypatch):
    monkeypatch.setattr("minicnn.engine._enabled", False)
    (losses, values), (other_losses, other_values) = four_steps_and_train_step(mc.Adam)
    assert other_losses == losses
    assert other_values.tobytes() == values.tobytes()


def test_train_step_is_the_four_steps_to_rounding():
    (losses, values), (other_losses, other_values) = four_steps_and_train_step(
        lambda parameters: mc.SGD(parameters, lr=0.05, momentum=0.9)
    )
    assert other_losses == pytest.approx(losses, rel=1e-5)
    assert np.abs(other_values - values).max() <= 1e-5 * np.abs(values).max()


def test_uint8_pictures_are_scaled_everywhere_alike():
    raw = np.random.default_rng(0).integers(0, 256, (6, 1, 28, 28)).astype(np.uint8)
    x, y, model = raw / np.float32(255), np.arange(6), lenet()
    assert model(raw).tobytes() == model(x).tobytes()
    assert model.predict_proba(raw).tobytes() == model.predict_proba(x).tobytes()
    assert model.evaluate(raw, y) == model.evaluate(x, y)
    opt = mc.SGD(model.parameters(), lr=0.0)
    losses = [model.train_step(images, y, mc.CrossEntropyLoss(), opt) for images in (raw, x)]
    assert losses[0] == losses[1]


def test_inference_holds_for_one_thread_only():
    model, seen = lenet(), []
    with mc.inference():
        thread = threading.Thread(target=lambda: seen.append(model.training))
        thread.start()
        thread.join()
        seen.append(model.training)
    assert seen == [True, False] and model.training


def test_inference_nests_and_ends_with_an_error():
    layer = mc.Dropout(0.5)
    with pytest.raises(ZeroDivisionError), mc.inference():
        with mc.inference():
            assert not layer.training
        assert not layer.training
        raise ZeroDivisionError
    assert layer.training


def test_predictions_from_four_threads_equal_serial_ones_while_another_model_trains(keep_threads):
    mc.set_num_threads(2)
    x, y = pictures(16)
    model, learner, alone = lenet(1), lenet(2), lenet(2)
    expected = model.predict_proba(x).tobytes()
    saved = model(x)  # remembered for backward, which predictions must leave alone
    opt, alone_opt = (mc.SGD(m.parameters(), lr=0.05) for m in (learner, alone))

    def train(m, optimizer):
        return [m.train_step(x, y, mc.CrossEntropyLoss(), optimizer) for _ in range(5)]

    with ThreadPoolExecutor(5) as pool:
        training = pool.submit(train, learner, opt)
        answers = [pool.submit(model.predict_proba, x, 5) for _ in range(12)]
        assert {answer.result().tobytes() for answer in answers} == {expected}
        assert training.result() == train(alone, alone_opt)
    assert learner.flat_parameters.tobytes() == alone.flat_parameters.tobytes()
    assert model.backward(saved).shape == x.shape and model.training


def test_several_threads_may_be_the_first_to_use_a_model():
    x = pictures(4)[0]
    for seed in range(5):
        model = mc.Sequential(mc.Conv2d(None, 3, 3), mc.BatchNorm2d(None), mc.Linear(None, 4),
                              seed=seed)  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _, m=model: m.predict_proba(x).tobytes(), range(8)))
        assert len(set(answers)) == 1
        assert answers[0] == model.predict_proba(x).tobytes()
