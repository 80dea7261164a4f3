"""Every exit code, with the one or two lines that go with it."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minicnn import checkpoint
from minicnn.checkpoint import durable
from minicnn.cli import main, train

from .conftest import FAST, blocks, start


def is_short_and_clean(err):
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("minicnn: ")]
    return 1 <= len(errors) <= 2 and "Traceback" not in err


def test_without_arguments_the_help_is_printed_and_the_code_is_2(command):
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err.startswith("usage: minicnn")


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("train", "--help")])
def test_help_and_version_end_with_0_on_stdout(command, words):
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert "minicnn" in out


@pytest.mark.parametrize(
    "words",
    [
        ("fly",),
        ("train", "--no-such-option"),
        ("train", "--epochs", "0"),
        ("train", "--epochs", "2.5"),
        ("train", "--batch-size", "99999999999"),
        ("train", "--lr", "0"),
        ("train", "--lr", "nan"),
        ("train", "--lr", "inf"),
        ("train", "--val-split", "1"),
        ("train", "--val-split", "0"),
        ("train", "--label-smoothing", "1"),
        ("train", "--weight-decay", "-1"),
        ("train", "--seed", str(2**64)),
        ("train", "--threads", "0"),
        ("train", "--arch", "resnet"),
        ("train", "--optimizer", "lion"),
        ("train", "--epoch", "3"),  # no guessing of shortened options
        ("train", "--resume", "x", "--dry-run"),
        ("evaluate",),
        ("predict", "runs/train-001"),
        ("predict", "run", "a.png", "--json", "--csv"),
    ],
)
def test_wrong_usage_ends_with_2(data, command, words):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith("minicnn: error: ")
    assert is_short_and_clean(err)
    assert not Path("runs").exists()


def write_bad_data(kind):
    x, y = blocks()
    if kind == "broken":
        Path("bad.npz").write_bytes(b"PK\x03\x04 nothing")
    elif kind == "foreign":
        np.savez("bad.npz", pictures=x)
    elif kind == "one class":
        np.savez("bad.npz", x=x, y=np.zeros(60, int))
    elif kind == "one image":
        np.savez("bad.npz", x=x[:1], y=y[:1])
    elif kind == "folder":
        Path("bad.npz").mkdir()


@pytest.mark.parametrize(
    "kind", ["missing", "broken", "foreign", "one class", "one image", "folder"]
)
def test_bad_data_end_with_3_and_name_the_file(data, command, kind):
    write_bad_data(kind)
    code, out, err = command("train", "bad.npz", *FAST)
    assert (code, out) == (3, "")
    assert "bad.npz" in err or kind == "one image"
    assert is_short_and_clean(err)
    assert not Path("runs").exists()


def test_data_without_permission_end_with_3(data, command, monkeypatch):
    def refuse(path, *rest, **options):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("minicnn.cli.job.open_source", lambda spec, **options: refuse(spec))
    code, _, err = command("train", data, *FAST)
    assert (code, err) == (3, "minicnn: error: data.npz: Permission denied\n")


@pytest.mark.parametrize(
    "content",
    ["not json", '[{"type": "Nope"}]', '{"a": 1}', '[{"type": "Flatten"}]', "[" * 100_000],
)
def test_bad_architecture_file_ends_with_4(data, command, content):
    Path("a.json").write_text(content)
    code, _, err = command("train", data, "--arch", "a.json")
    assert code == 4
    assert "a.json" in err
    assert is_short_and_clean(err)


def test_architecture_too_large_for_the_images_ends_with_4(data, command):
    code, _, err = command("train", data, "--arch", "seed")
    assert code == 4
    assert "layer" in err and is_short_and_clean(err)


@pytest.mark.parametrize("command_name", ["evaluate", "predict"])
def test_missing_run_ends_with_4(data, command, command_name):
    code, out, err = command(command_name, "runs/none", data)
    assert (code, out) == (4, "")
    assert err == "minicnn: error: runs/none: no such run folder or model file\n"


def test_damaged_model_ends_with_4(run, command):
    model = run / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    code, _, err = command("evaluate", run)
    assert code == 4
    assert "model.safetensors" in err and is_short_and_clean(err)


def test_divergence_ends_with_5_and_keeps_the_last_good_weights(data, command):
    code, out, err = command(
        "train", data, "--arch", "mlp", "--epochs", "40", "--optimizer", "sgd", "--lr", "1e9",
        "--schedule", "constant",
    )  # fmt: skip
    assert (code, out) == (5, "")
    assert "diverged in epoch" in err
    assert "--lr 1e+08" in err
    assert is_short_and_clean(err)


def test_divergence_after_a_good_epoch_leaves_its_model_readable(data, command, monkeypatch):
    from minicnn.sequential import Sequential

    good = Sequential.train_and_count
    calls = []

    def spoil_later(self, *arguments, **options):
        calls.append(1)
        loss, correct = good(self, *arguments, **options)
        return (float("nan") if len(calls) > 4 else loss), correct

    monkeypatch.setattr(Sequential, "train_and_count", spoil_later)
    code, _, err = command("train", data, *FAST)  # three steps an epoch
    assert code == 5
    assert "model.safetensors keeps the weights of epoch 1" in err
    monkeypatch.setattr(Sequential, "train_and_count", good)
    assert command("predict", "runs/train-001", "none.png")[0] == 3  # the model could be read


def fail_writes_of(monkeypatch, name, after=0, code=errno.ENOSPC):
    """Writing a file of that name fails from the call number `after` on, as on a full disk."""
    write, calls = durable.write_bytes, []

    def full(path, data):
        if Path(path).name == name:
            calls.append(1)
            if len(calls) > after:
                raise OSError(code, os.strerror(code), os.fspath(path))
        write(path, data)

    monkeypatch.setattr(durable, "write_bytes", full)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "last.safetensors", "curves.png", "summary.json", "results.csv"]
)
def test_full_disk_ends_with_6_and_the_run_can_be_finished(data, command, monkeypatch, name):
    command("train", data, *FAST, "--quiet")
    after = 1 if name == "last.safetensors" else 0  # the first one is written before epoch 1
    with monkeypatch.context() as patch:
        fail_writes_of(patch, name, after)
        code, out, err = command("train", data, *FAST, "--quiet")
    assert (code, out) == (6, "")
    assert f"{name}: No space left on device; make room" in err
    assert is_short_and_clean(err)
    if name == "results.csv":  # it is begun before there is anything to resume
        assert err.endswith("nothing was trained yet; start again\n")
        return
    assert "minicnn train --resume runs/train-002" in err
    assert command("train", "--resume", "runs/train-002", "--quiet")[0] == 0
    for file in ("model.safetensors", "last.safetensors", "summary.json"):
        whole, resumed = (
            Path("runs", run, file).read_bytes() for run in ("train-001", "train-002")
        )
        assert whole == resumed, file


def test_folder_that_cannot_be_made_ends_with_6(data, command, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = command("train", data, *FAST)
    assert code == 6
    assert "Permission denied" in err and is_short_and_clean(err)


def test_internal_error_ends_with_1_and_says_how_to_report_it(command, monkeypatch, data):
    def defect(arguments):
        raise AssertionError("impossible")

    monkeypatch.setattr(train, "run", defect)
    code, _, err = command("train", data)
    assert code == 1
    assert err.splitlines() == [
        "minicnn: internal error: AssertionError: impossible",
        "minicnn: this is a defect of minicnn; run it again with MINICNN_DEBUG=1 and report "
        "what it prints",
    ]


def test_debug_shows_the_traceback(command, monkeypatch, data):
    monkeypatch.setenv("MINICNN_DEBUG", "1")
    code, _, err = command("train", "nowhere")
    assert code == 3
    assert "Traceback" in err


def test_ctrl_c_in_the_middle_ends_with_130_and_the_run_resumes(data, command, monkeypatch):
    from minicnn.sequential import Sequential

    good = Sequential.train_and_count
    calls = []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return good(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Sequential, "train_and_count", interrupted)
        code, out, err = command("train", data, *FAST)
    assert (code, out) == (130, "")
    assert err.endswith(
        "minicnn: stopped by Ctrl-C after 1 epoch; what was finished is saved\n"
        "minicnn: continue with: minicnn train --resume runs/train-001\n"
    )
    assert command("train", "--resume", "--quiet")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_process_with_its_code_and_a_readable_state(data, number, code):
    process = start("train", data, "--arch", "mlp", "--epochs", "100000")
    deadline = time.monotonic() + 60
    log = Path("runs/train-001/results.csv")
    while not log.exists() or log.read_text().count("\n") < 3:  # its second epoch is over
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert "minicnn train --resume runs/train-001" in err
    assert "Traceback" not in err
    assert checkpoint.read("runs/train-001/last.safetensors")[1]["epoch"] >= 1


@pytest.mark.slow
def test_closed_pipe_ends_quietly(run):
    process = subprocess.Popen(
        [sys.executable, "-m", "minicnn", "evaluate", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == ""
    assert process.wait(timeout=60) == 141


@pytest.mark.slow
def test_python_m_minicnn_is_the_command(data):
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("minicnn ")


def test_parsing_imports_no_heavy_library():
    script = (
        "import sys, minicnn; before = set(sys.modules)\n"
        "from minicnn.cli.arguments import build_parser; build_parser()\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'PIL', 'tqdm', 'matplotlib', 'safetensors'}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "[]\n"


def test_streams_that_cannot_show_a_name_do_not_fail(data, monkeypatch, capfd):
    assert main(["train", "n\udcffix", "--quiet"]) == 3
    assert "\\udcff" in capfd.readouterr().err
