"""One random net trained in minicnn and in PyTorch, and the distance between the two.

PyTorch runs twice, in float32 and in float64. The float64 run is the truth: it says how far each
float32 run is off, and whether the net is clear. A net is not clear when rounding could send it
another way (docs/numerics.md): a ReLU or a max-pool comes near a tie, or Adam with its tiny eps
divides a gradient that is nothing but rounding by its own size.
"""

import copy
import functools
from dataclasses import dataclass, field

import numpy as np
import torch
import torch_nets
from torch import nn
from torch.nn import functional

import minicnn as mc

STEPS = 10
TOLERANCE = 1e-5  # relative; docs/numerics.md, "Agreement with PyTorch"
CLEAR = 1e-5  # least distance of a branch from a tie, relative to the values that decide it
CANCELLED = 1e-3  # a gradient below so many times its absolute terms is mostly rounding
TERMS = 0.1  # share of the absolute terms that serves as scale where terms cancel


@dataclass
class Comparison:
    """What was compared: name → (our error, PyTorch's error), relative to the float64 run."""

    net: torch_nets.Net
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    clear: bool = True

    def add(self, name, our_array, their_array, true_array, terms=0.0):
        """Notes the largest differences from `true_array`.

        They are relative to its largest value or, where the sums behind it cancel, to TERMS
        times `terms`, the largest sum of absolute values.
        """
        true = np.asarray(true_array, np.float64)
        assert np.shape(our_array) == np.shape(their_array) == true.shape, name
        scale = max(np.abs(true).max(), TERMS * terms) or 1.0  # all 0: so must the others be
        self.errors[name] = (
            float(np.abs(np.asarray(our_array, np.float64) - true).max() / scale),
            float(np.abs(np.asarray(their_array, np.float64) - true).max() / scale),
        )

    def failures(self):
        """The entries that are further off than docs/numerics.md allows; NaN is."""
        return {name: e for name, e in self.errors.items() if not e[0] <= TOLERANCE}


class Peer:
    """The net in PyTorch with its optimizer, in one of the two precisions."""

    def __init__(self, net, module, dtype):
        self.net, self.dtype = net, dtype
        self.module = copy.deepcopy(module).to(dtype).train(net.training)
        for mine, original in zip(self.module.modules(), module.modules(), strict=True):
            if isinstance(mine, torch_nets.Masked):
                mine.ours = original.ours  # the very layer, not a copy that stands still
        self.loss_fn = torch_nets.their_loss(net, dtype)
        name, arguments = net.optimizer
        self.optimizer = getattr(torch.optim, name)(self.module.parameters(), **arguments)

    def pass_batch(self, x, y):
        """Forward and backward."""
        self.x = torch.tensor(x, dtype=self.dtype, requires_grad=True)
        self.logits = self.module(self.x)
        self.loss = self.loss_fn(self.logits, torch.tensor(y))
        self.optimizer.zero_grad()
        self.loss.backward()

    def step(self):
        if self.net.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.net.clip_norm)
        self.optimizer.step()

    def state(self):
        return {name: array.numpy() for name, array in self.module.state_dict().items()}

    def gradients(self):
        return {name: p.grad.numpy() for name, p in self.module.named_parameters()}


class Truth(Peer):
    """The float64 run, which also watches whether the net stays clear."""

    def __init__(self, net, module):
        super().__init__(net, module, torch.float64)
        self.clear = True
        self.seen = {}  # name of a layer with weights → its last input and output
        for name, layer in self.module.named_modules():
            if isinstance(layer, (nn.ReLU, nn.LeakyReLU)):
                layer.register_forward_pre_hook(self.watch_kink)
            elif isinstance(layer, nn.MaxPool2d):
                layer.register_forward_pre_hook(self.watch_windows)
            elif hasattr(layer, "weight"):
                layer.register_forward_hook(functools.partial(self.remember, name))

    def watch_kink(self, _, inputs):
        self.note(inputs[0].abs(), inputs[0])

    def watch_windows(self, pool, inputs):
        values = windows(inputs[0].detach(), pool)
        gaps = values.amax(2, keepdim=True) - values
        self.note(gaps[gaps.isfinite()], inputs[0])

    def note(self, distances, values):
        different = distances[distances > 0]  # equal values, like zeros of a ReLU, are so for all
        if different.numel() and different.min() < CLEAR * values.abs().max():
            self.clear = False

    def remember(self, name, layer, inputs, output):
        output.retain_grad()
        self.seen[name] = layer, inputs[0].detach(), output

    def terms(self):
        """Name of each parameter → the largest sum of absolute terms behind its gradient."""
        found = {}
        for name, (layer, x, y) in self.seen.items():
            dy = y.grad.abs()
            found[f"{name}.bias"] = dy.transpose(0, 1).flatten(1).sum(1).max().item()
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                shape = (1, -1, *[1] * (x.ndim - 2))
                normal = (y - layer.bias.view(shape)).abs() / layer.weight.abs().view(shape)
                found[f"{name}.weight"] = (normal * dy).sum().item()
            else:
                again = layer.forward(x.abs())  # past the hooks
                (sums,) = torch.autograd.grad(again, layer.weight, dy)
                found[f"{name}.weight"] = sums.max().item()
        return found

    def step(self):
        """In Adam with its default eps, a gradient of mostly rounding makes a full step."""
        if self.optimizer.defaults.get("eps") == 1e-8:
            gradients, terms = self.gradients(), self.terms()
            if any(np.abs(g).max() < CANCELLED * terms[n] for n, g in gradients.items()):
                self.clear = False
        super().step()


def windows(x, pool):
    """(N, C, H, W) → (N·C, 1, window size, windows), -inf outside of the image."""
    size, stride, pad = (
        v if isinstance(v, tuple) else (v, v)
        for v in (pool.kernel_size, pool.stride or pool.kernel_size, pool.padding)
    )
    maps = x.flatten(0, 1)[:, None]
    # One more stride below and to the right serves ceil_mode; windows of -inf alone have no gap.
    edge = (pad[1], pad[1] + stride[1], pad[0], pad[0] + stride[0])
    maps = functional.pad(maps, edge, value=-torch.inf)
    columns = functional.unfold(maps, size, stride=stride)
    return columns.reshape(len(columns), 1, size[0] * size[1], -1)


# --- comparing -----------------------------------------------------------------------------------


def compare(net, plant=lambda model: None):
    """Trains `net` for STEPS steps everywhere; `plant(model)` may spoil ours for a test."""
    result = Comparison(net)
    g = np.random.default_rng(net.seed)
    model, small, exact = make_three(net, g)
    name, arguments = net.optimizer
    optimizer = getattr(mc, name)(model.parameters(), **arguments)
    loss_fn = mc.CrossEntropyLoss(**net.loss)
    plant(model)
    compare_first_step(result, model, optimizer, loss_fn, small, exact, g)
    for _ in range(STEPS - 1):
        x, y = torch_nets.make_batch(net, g)
        for peer in (small, exact):
            peer.pass_batch(x, y)
            peer.step()
        loss = model.train_step(x, y, loss_fn, optimizer, net.clip_norm)
    result.add("last loss", loss, small.loss.item(), exact.loss.item())
    compare_states(result, model.state_dict(), small.state(), exact.state())
    result.clear = exact.clear
    return result


def make_three(net, g):
    """The net in minicnn, in float32 and in float64 PyTorch, with equal weights.

    They travel from PyTorch to us for even seeds and the other way for odd ones.
    """
    model = torch_nets.ours(net).train(net.training)
    torch.manual_seed(net.seed)  # PyTorch draws the weights that travel to us
    module = torch_nets.theirs(net, model)
    if net.seed % 2:
        state = {n: torch.from_numpy(_shifted(n, a, g)) for n, a in model.state_dict().items()}
        module.load_state_dict(state)
    else:
        state = {n: _shifted(n, a.numpy().copy(), g) for n, a in module.state_dict().items()}
        module.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()})
    model.load_state_dict({n: a.numpy() for n, a in module.state_dict().items()})
    return model, Peer(net, module, torch.float32), Truth(net, module)


def _shifted(name, array, g):
    """BatchNorm's arrays away from 0 and 1, where mistakes would not show; others as they are."""
    if array.ndim > 1 or array.dtype != np.float32:
        return array
    low = 0.5 if name.endswith("running_var") or np.all(array == 1) else -0.5
    fresh = np.ptp(array) == 0
    return g.uniform(low, low + 1, array.shape).astype(np.float32) if fresh else array


def compare_first_step(result, model, optimizer, loss_fn, small, exact, g):
    """Logits, loss and all gradients, then the step."""
    net = result.net
    x, y = torch_nets.make_batch(net, g)
    small.pass_batch(x, y)
    exact.pass_batch(x, y)
    logits = model(x)
    result.add("logits", logits, small.logits.detach(), exact.logits.detach())
    result.add("loss", loss_fn(logits, y), small.loss.item(), exact.loss.item())
    dx = model.backward(loss_fn.backward())
    result.add("input gradient", dx, small.x.grad, exact.x.grad)
    ours, theirs, true, terms = (
        model.named_parameters(), small.gradients(), exact.gradients(), exact.terms()
    )  # fmt: skip
    assert list(ours) == list(theirs)
    for name, p in ours.items():
        result.add(f"gradient of {name}", p.grad, theirs[name], true[name], terms[name])
    if net.clip_norm is not None:
        mc.clip_grad_norm(model.parameters(), net.clip_norm)
    small.step()
    exact.step()
    optimizer.step()


def compare_states(result, ours, small, exact):
    assert list(ours) == list(small)
    for name, array in ours.items():
        if name.endswith("num_batches_tracked"):
            assert array == small[name]
        else:
            result.add(f"{name} after {STEPS} steps", array, small[name], exact[name])
