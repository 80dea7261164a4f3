"""`minicnn train`: the options that decide how it learns, one by one."""

import json
from pathlib import Path

import minicnn as mc
from minicnn import checkpoint

from .conftest import FAST


def test_ema_is_what_the_run_keeps_and_the_weights_are_in_the_state(data, run, command):
    code, _, _ = command("train", data, *FAST, "--ema", "0.9", "--quiet")
    assert code == 0
    averaged = Path("runs/train-002")
    plain, average = (mc.load(r / "model.safetensors").flat_parameters for r in (run, averaged))
    assert plain.tobytes() != average.tobytes()
    assert json.loads((averaged / "args.json").read_text())["ema"] == 0.9
    # The training went on as without an average: its weights are in the state file.
    tensors, _ = checkpoint.read(averaged / "last.safetensors")
    trained = next(a for name, a in tensors.items() if name.endswith("/weights/parameters.0"))
    last, _ = checkpoint.read(run / "last.safetensors")
    expected = b"".join(last[f"model/{name}"].tobytes() for name in
                        ("1.weight", "1.bias", "3.weight", "3.bias"))  # fmt: skip
    assert trained.tobytes() == expected
