"""The oracle against PyTorch in float64, where PyTorch is installed.

Both compute in float64, so 1e-12 of the largest value is enough. The one place where the two
differ on purpose, NaN in max pooling, is described in docs/numerics.md.
"""

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def tensor(array):
    return torch.tensor(np.asarray(array), dtype=torch.float64, requires_grad=True)


def compare(actual, expected):
    expected = expected.detach().numpy()
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * scale)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d_equals_torch(rng, groups):
    for stride, padding, dilation in [((1, 1), (0, 0), (1, 1)), ((2, 3), (1, 2), (2, 1))]:
        x, weight = rng.standard_normal((2, 4, 9, 8)), rng.standard_normal((8, 4 // groups, 3, 2))
        bias = rng.standard_normal(8)
        geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        theirs = [tensor(array) for array in (x, weight, bias)]
        y = functional.conv2d(*theirs, **geometry)
        compare(reference.conv2d_forward(x, weight, bias, **geometry), y)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        ours = reference.conv2d_backward(x, weight, dy, **geometry)
        for got, want in zip(ours, theirs, strict=True):
            compare(got, want.grad)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (2, 2), (1, 1)), ((3, 2), (2, 3), (1, 0))]
)
def test_pools_equal_torch(rng, kernel, stride, padding, ceil_mode):
    for height, width in [(7, 8), (6, 5), (4, 9)]:
        x = rng.standard_normal((2, 3, height, width))
        size = tuple(
            reference.pool_output_size(*axis, ceil_mode)
            for axis in zip((height, width), kernel, stride, padding, strict=True)
        )
        window = (kernel, stride, padding)
        theirs = tensor(x)
        want, indices = functional.max_pool2d(
            theirs, *window, ceil_mode=ceil_mode, return_indices=True
        )
        y, winners = reference.max_pool2d_forward(x, *window, size)
        compare(y, want)
        np.testing.assert_array_equal(winners, indices.numpy())
        dy = rng.standard_normal(y.shape)
        want.backward(torch.tensor(dy))
        compare(reference.max_pool2d_backward(dy, winners, (height, width)), theirs.grad)
        for include in (True, False):
            theirs = tensor(x)
            want = functional.avg_pool2d(theirs, *window, ceil_mode, include)
            compare(reference.avg_pool2d_forward(x, *window, include, size), want)
            want.backward(torch.tensor(dy))
            dx = reference.avg_pool2d_backward(dy, (height, width), *window, include)
            compare(dx, theirs.grad)


def test_activations_equal_torch(rng):
    x, dy = np.concatenate([rng.standard_normal(99) * 4, [0.0]]), rng.standard_normal(100)
    pairs = {
        "relu": functional.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": functional.gelu,
        "gelu_tanh": lambda t: functional.gelu(t, approximate="tanh"),
        "silu": functional.silu,
    }
    for name, function in pairs.items():
        theirs = tensor(x)
        y = function(theirs)
        compare(getattr(reference, f"{name}_forward")(x), y)
        y.backward(torch.tensor(dy))
        compare(getattr(reference, f"{name}_backward")(x, dy), theirs.grad)


@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_equals_torch(rng, training):
    x, weight, bias, mean = (rng.standard_normal(s) for s in ((4, 3, 5), 3, 3, 3))
    var = rng.uniform(0.5, 2.0, 3)
    theirs = [tensor(array) for array in (x, weight, bias)]
    running = [torch.tensor(mean), torch.tensor(var)]
    y = functional.batch_norm(theirs[0], *running, *theirs[1:], training, 0.3, 1e-3)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    if training:
        ours = reference.batchnorm_train_forward(x, weight, bias, mean, var, 0.3, 1e-3)
        gradients = reference.batchnorm_train_backward(x, weight, dy, 1e-3)
        compare(ours[0], y)
        compare(ours[3], running[0])
        compare(ours[4], running[1])
    else:
        compare(reference.batchnorm_eval_forward(x, weight, bias, mean, var, 1e-3), y)
        gradients = reference.batchnorm_eval_backward(x, weight, dy, mean, var, 1e-3)
    for got, want in zip(gradients, theirs, strict=True):
        compare(got, want.grad)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [0, 2, 6])
def test_cross_entropy_equals_torch(rng, smoothing, weighted, ignored):
    logits, labels = rng.standard_normal((6, 4)) * 5, rng.integers(0, 4, 6)
    labels[:ignored] = -100
    weight = rng.uniform(0.5, 2.0, 4) if weighted else None
    theirs = tensor(logits)
    loss = functional.cross_entropy(
        theirs,
        torch.tensor(labels),
        None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing,
    )
    loss.backward()
    compare(reference.cross_entropy_forward(logits, labels, weight, -100, smoothing)[0], loss)
    dlogits = reference.cross_entropy_backward(logits, labels, weight, -100, smoothing)
    compare(dlogits, theirs.grad)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ],
)
def test_sgd_ten_steps_equal_torch(rng, options):
    param, buffer = rng.standard_normal(5), None
    theirs = tensor(param)
    optimizer = torch.optim.SGD([theirs], lr=0.1, **options)
    for _ in range(10):
        grad = rng.standard_normal(5)
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        param, buffer = reference.sgd_step(param, grad, buffer, lr=0.1, **options)
    compare(param, theirs)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_ten_steps_equal_torch(rng, decoupled):
    param = rng.standard_normal(5)
    moments = np.zeros(5), np.zeros(5)
    theirs = tensor(param)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([theirs], lr=0.05, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)
    options = dict(lr=0.05, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.1)
    for step in range(1, 11):
        grad = rng.standard_normal(5)
        theirs.grad = torch.tensor(grad)
        optimizer.step()
        param, *moments = reference.adam_step(
            param, grad, *moments, step=step, decoupled=decoupled, **options
        )
    compare(param, theirs)


def test_clip_grad_norm_equals_torch(rng):
    grads = [rng.standard_normal(shape) for shape in ((3, 4), (5,))]
    for max_norm in (0.5, 100.0):
        theirs = [tensor(grad) for grad in grads]
        for parameter, grad in zip(theirs, grads, strict=True):
            parameter.grad = torch.tensor(grad)
        norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        clipped, ours = reference.clip_grad_norm(grads, max_norm)
        compare(ours, norm)
        for got, want in zip(clipped, theirs, strict=True):
            compare(got, want.grad)
