"""Chains that the engine knows in part: where they are cut, and that everything still works."""

import copy
import threading

import numpy as np
import pytest
from checks import THREADS, assert_close, assert_same_bits

import minicnn as mc
from engine.nets import Scale, oracle_gradients
from engine.test_passes import NET_TOLERANCE, gradient_for
from minicnn import lowering
from minicnn.lowering import Passes
from minicnn.lowering.segments import divide


def conv():
    return mc.Conv2d(None, 18, 3, padding=1)


NETS = {
    "in the middle": lambda: [conv(), mc.ReLU(), Scale(), mc.MaxPool2d(2), mc.Linear(None, 5)],
    "first": lambda: [Scale(), conv(), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 5)],
    "last": lambda: [conv(), mc.ReLU(), mc.Linear(None, 5), Scale()],
    "two in a row": lambda: [conv(), Scale(), Scale(), conv(), mc.Linear(None, 5)],
    "in nested chains": lambda: [
        mc.Sequential(conv(), mc.BatchNorm2d(None), mc.Sequential(mc.Tanh(), Scale())),
        mc.Sequential(mc.MaxPool2d(2), mc.Flatten()), mc.Sequential(mc.Linear(None, 5)),
    ],
    "gelu": lambda: [conv(), mc.GELU(), conv(), mc.GELU(), mc.MaxPool2d(2), mc.Linear(None, 5)],
    "silu": lambda: [conv(), mc.BatchNorm2d(None), mc.SiLU(), mc.AvgPool2d(2), mc.Linear(None, 5)],
    "tanh": lambda: [conv(), mc.Tanh(), mc.MaxPool2d(2), conv(), mc.Tanh(), mc.Linear(None, 5)],
    "sigmoid": lambda: [conv(), mc.Sigmoid(), mc.Dropout(0.3), mc.Linear(None, 5), mc.Sigmoid(),
                        mc.Linear(None, 5)],
    "pool first": lambda: [mc.MaxPool2d(2), mc.GELU(), mc.Linear(None, 5)],
    "nothing for the engine": lambda: [Scale(), mc.Tanh(), mc.ReLU(), mc.Flatten(), Scale()],
    "all for the engine": lambda: [conv(), mc.ReLU(), mc.MaxPool2d(2), mc.Linear(None, 5)],
}  # fmt: skip


def build(net, seed=4):
    return mc.Sequential(*NETS[net](), seed=seed).build((2, 8, 8))


@pytest.fixture
def batch():
    g = np.random.default_rng(6)
    return g.normal(size=(21, 2, 8, 8)).astype(np.float32), g.integers(0, 5, 21)


def gradients_of(model):
    return {name: p.grad.copy() for name, p in model.named_parameters().items()}


# --- the two passes by hand ---------------------------------------------------------------------


@pytest.mark.parametrize("across", ("samples", "channels"))
@pytest.mark.parametrize("mode", (True, False))
@pytest.mark.parametrize("net", NETS)
def test_passes_by_hand_agree_with_the_oracle_and_between_threads(
    net, mode, across, batch, monkeypatch
):
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    model, x = build(net).train(mode), batch[0]
    dy = gradient_for(model, x)
    expected_y, expected, expected_dx = oracle_gradients(model, x, dy)
    found = []
    for threads in THREADS:
        mc.set_num_threads(threads)
        twin = copy.deepcopy(model)
        twin.flat_gradients[...] = np.nan
        y = twin(x)
        found.append((y, twin.backward(dy), twin.flat_gradients.copy()))
    assert_close(y, expected_y, NET_TOLERANCE, np.abs(expected_y).max())
    dx = found[0][1]
    assert dx.shape == x.shape
    assert_close(dx, expected_dx, NET_TOLERANCE, np.abs(expected_dx).max(), may_be_zero=True)
    scale = max(np.abs(value).max() for value in expected.values())
    for name, value in gradients_of(twin).items():
        assert_close(value, expected[name], NET_TOLERANCE, scale, may_be_zero=True)
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            assert_same_bits(ours, theirs)


@pytest.mark.parametrize("net", NETS)
def test_step_by_hand_is_the_training_step(net, batch):
    x, y = batch
    model, loss_fn = build(net), mc.CrossEntropyLoss()
    twin = copy.deepcopy(model)
    optimizer, others = (mc.SGD(m.parameters(), 0.1, momentum=0.9) for m in (model, twin))
    for _ in range(5):
        loss = loss_fn(model(x), y)
        model.backward(loss_fn.backward())
        optimizer.step()
        assert twin.train_step(x, y, loss_fn, others) == pytest.approx(loss, rel=1e-5)
    for name, value in twin.state_dict().items():
        scale = np.abs(value).max() + 0.1
        assert_close(model.state_dict()[name], value, 1e-5, scale, may_be_zero=True)


@pytest.mark.parametrize("net", NETS)
def test_training_and_answers_agree_with_the_layers(net, batch):
    x, y = batch
    ends = []
    for engine in (True, False):
        mc.set_engine(engine)
        model = build(net)
        optimizer = mc.Adam(model.parameters(), 1e-2, eps=1e-3)
        history = model.fit(x, y, 4, 8, optimizer=optimizer, validation_data=batch)
        rows = [[row["loss"], row["val_loss"]] for row in history]
        ends.append((np.array(rows), model.logits(x), model.evaluate(x, y)["loss"]))
    assert ends[0][0][-1, 0] < ends[0][0][0, 0]
    for ours, layers in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, layers, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("net", NETS)
def test_training_has_the_same_bits_for_any_number_of_threads_and_when_resumed(
    net, batch, tmp_path
):
    def trained(threads, stops):
        mc.set_num_threads(threads)
        for number, epochs in enumerate(stops):
            model = build(net)
            optimizer = mc.SGD(model.parameters(), 0.05, momentum=0.9)
            model.fit(
                *batch, epochs, 8, optimizer=optimizer, resume=number > 0,
                state_file=tmp_path / f"state{threads}-{len(stops)}",
            )  # fmt: skip
        return model.flat_parameters

    expected = trained(1, [3])
    for threads in THREADS[1:]:
        assert_same_bits(trained(threads, [3]), expected)
    assert_same_bits(trained(2, [1, 3]), expected)


# --- where chains are cut ------------------------------------------------------------------------


def cuts(*layers):
    pieces = divide(mc.Sequential(*layers).units())
    return [("+".join(p.layers), p.planned) for p in pieces]


def test_chain_is_cut_at_layers_that_the_engine_does_not_know():
    linear, relu = mc.Linear, mc.ReLU
    assert cuts(linear(2, 2), relu(), linear(2, 2)) == [("0+1+2", True)]
    assert cuts(linear(2, 2), Scale(), relu(), linear(2, 2)) == [
        ("0", True), ("1", False), ("2+3", True),
    ]  # fmt: skip
    # A ReLU by itself is not worth a plan.
    assert cuts(Scale(), relu(), mc.Sequential(mc.GELU(), linear(2, 2))) == [
        ("0", False), ("1", False), ("2.0", False), ("2.1", True),
    ]  # fmt: skip
    assert cuts(mc.MaxPool2d(20), mc.AvgPool2d(20)) == [("0", False), ("1", True)]


def test_layer_whose_passes_were_replaced_runs_itself(batch):
    model, calls = build("all for the engine"), []
    good = model[1].forward
    model[1].forward = lambda x: calls.append(1) or good(x)
    model(batch[0])
    model.logits(batch[0])
    assert len(calls) == 2 and cuts(*model.layers)[1] == ("1", False)


class Shortcut(mc.Sequential):
    """A block with passes of its own: y = x + f(x)."""

    def forward(self, x):
        return x + super().forward(x)

    def backward(self, dy):
        return dy + super().backward(dy)


def test_chain_with_passes_of_its_own_is_one_layer(batch):
    x, y = batch
    block = Shortcut(mc.Conv2d(2, 2, 3, padding=1), mc.ReLU(), mc.Conv2d(2, 2, 1))
    model = mc.Sequential(mc.Conv2d(2, 2, 1), block, mc.Linear(None, 5), seed=1).build((2, 8, 8))
    ends = []
    for engine in (True, False):
        mc.set_engine(engine)
        twin = copy.deepcopy(model)
        optimizer = mc.SGD(twin.parameters(), 0.1)
        losses = [twin.train_step(x, y, mc.CrossEntropyLoss(), optimizer) for _ in range(5)]
        out = twin(x)
        ends.append([*losses, *out.ravel(), *twin.backward(out).ravel(), *twin.logits(x).ravel()])
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-5)
    assert not np.allclose(block.forward(x), mc.Sequential(*block.layers).forward(x))
    trace = model.trace(x, 2, (3, 1))
    assert trace.total == pytest.approx(model.forward_by_layers(x)[3, 1], rel=1e-5)
    assert mc.explain.grad_cam(model, x[0], layer=1).values.shape == (8, 8)
    alone = Shortcut(*block.layers[:1])
    assert_same_bits(alone.forward_by_layers(x), alone.forward(x))
    assert_same_bits(alone.logits(x), alone.eval()(x))


class Half(mc.Layer):
    """Announces the shape of its input, and hands on half of the rows: a user's mistake."""

    def forward(self, x):
        return self.prepare(x)[:, :, ::2].astype(np.float64)

    def backward(self, dy):
        dx = np.zeros((*dy.shape[:2], 8, 8))
        dx[:, :, ::2] = dy
        return dx


def test_layer_may_hand_on_another_shape_and_type_than_it_announces(batch):
    model = mc.Sequential(conv(), Half(), conv(), mc.GlobalAvgPool2d(), mc.Linear(None, 5)).build(
        (2, 8, 8)
    )
    found = []
    for engine in (True, False):
        mc.set_engine(engine)
        y = model(batch[0])
        found.append([y, model.backward(y), model.flat_gradients.copy()])
    for ours, layers in zip(*found, strict=True):
        np.testing.assert_allclose(ours, layers, rtol=1e-4, atol=1e-5)


# --- what is remembered ---------------------------------------------------------------------------


@pytest.mark.parametrize("net", ("all for the engine", "gelu"))
def test_backward_belongs_to_the_last_forward_pass(net, batch):
    model, x = build(net), batch[0]
    dy = gradient_for(model, x)
    model(x)
    expected = model.backward(dy)
    model(x[::-1])
    model.logits(x[::-1])  # remembers nothing
    model(x)
    model.logits(x[:3])
    assert_same_bits(model.backward(dy), expected)
    assert_same_bits(model.backward(dy), expected)  # once more, with what is still remembered
    model(x[:4])
    assert model.backward(dy[:4]).shape == (4, 2, 8, 8)
    with pytest.raises(mc.ShapeError, match="layer .*the gradient handed to backward has shape"):
        model.backward(dy)


def test_backward_needs_a_forward_pass_that_remembers(batch):
    model = build("gelu")
    dy = gradient_for(model, batch[0])
    optimizer = mc.SGD(model.parameters(), 0.1)
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        model.backward(dy)
    model(batch[0])
    # The step goes through the same layers, which remember its pass from now on.
    model.train_step(*batch, mc.CrossEntropyLoss(), optimizer)
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        model.backward(dy)


@pytest.mark.parametrize("net", NETS)
def test_by_layers_each_layer_remembers_its_part(net, batch):
    model, x = build(net), batch[0]
    dy = gradient_for(model, x)
    steps = model.generator_steps()
    model.forward_by_layers(x)
    expected, gradients = model.backward(dy), model.flat_gradients.copy()
    gradient = dy
    for layer in reversed(model.leaves().values()):
        gradient = layer.backward(gradient)
    assert_same_bits(gradient, expected)
    model.load_generator_steps(steps)
    model(x)
    assert_close(model.backward(dy), expected, NET_TOLERANCE, np.abs(expected).max())
    size = np.abs(gradients).max()
    assert_close(model.flat_gradients, gradients, NET_TOLERANCE, size)


def test_layers_of_a_plan_do_not_answer_for_an_earlier_pass(batch):
    model = build("all for the engine")
    model.forward_by_layers(batch[0])
    model(batch[0])
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        model[0].backward(np.zeros((21, 18, 8, 8), np.float32))


def test_inside_inference_nothing_is_remembered(batch):
    model, x = build("gelu"), batch[0]
    with mc.inference():
        assert_same_bits(model(x), model.logits(x))
    with pytest.raises(RuntimeError, match="outside predict and evaluate"):
        model.backward(gradient_for(model, x))


def test_parameters_may_change_between_forward_and_backward(batch):
    model, x = build("gelu"), batch[0]
    model(x)
    model.flat_parameters[...] = 0
    model.load_state_dict(build("gelu", seed=8).state_dict())
    assert model.backward(gradient_for(model, x)).shape == x.shape


def test_several_threads_use_one_model(batch):
    model, x = build("gelu").eval(), batch[0]
    with mc.inference():
        expected, found = model(x), []

    def work():
        with mc.inference():
            found.extend(model(x) for _ in range(5))
        model.backward(model(x) * 0)  # whichever thread's pass it is: no crash

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 20
    for y in found:
        assert_same_bits(y, expected)


# --- errors and limits ---------------------------------------------------------------------------


def test_errors_name_the_layer(batch):
    model = build("in nested chains")
    with pytest.raises(mc.ShapeError, match=r"^layer 0 layer 0 Conv2d.*channels"):
        model(np.zeros((4, 3, 8, 8), np.float32))
    with pytest.raises(mc.ShapeError, match=r"^layer 2 layer 0 Linear.*gradient handed to"):
        model(batch[0])
        model.backward(np.zeros((21, 4), np.float32))
    model = mc.Sequential(mc.Linear(2, 3), mc.Tanh(), mc.BatchNorm1d(3))
    with pytest.raises(mc.ShapeError, match=r"^layer 2 BatchNorm1d.*no variance"):
        model(np.zeros((1, 2), np.float32))


def test_plans_are_used_and_kept(batch):
    model = build("gelu")
    model(batch[0])
    kinds = [type(runner) for _, runner in model.saved().taken]
    assert kinds == [Passes, mc.GELU, Passes, mc.GELU, Passes]
    made = dict(model.pass_cache.made)
    assert len(made) == 3
    for _ in range(3):
        model(batch[0])
    assert model.pass_cache.made == made


@pytest.mark.parametrize("across", ("samples", "channels"))
def test_memory_of_a_step_is_told_beforehand(across, batch, monkeypatch):
    monkeypatch.setattr(lowering.choice, "ACROSS", across)
    mc.set_num_threads(1)
    x = np.concatenate([batch[0]] * 8)
    whole, cut = build("all for the engine"), build("gelu")
    values = 4 * len(x) * (18 * 8 * 8 + 18 * 4 * 4 + 5)  # of the whole net's layers
    told = [m.segments(input_gradient=False).memory(x) for m in (whole, cut)]
    # Padding, borders and gradients come on top; what lives for one stage is not kept.
    assert 0.3 * values < told[0] < 6 * values
    assert told[1] > told[0] + 4 * x[:, :1].size * 18 * 2  # two outputs of GELU
