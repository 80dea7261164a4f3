"""The bar on a terminal, plain lines elsewhere."""

import contextlib
import io
import os
import subprocess
import sys

import pytest

from minicnn.cli import main
from minicnn.cli.console import Console

from .conftest import FAST


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self):
        return True


def become_terminal(monkeypatch, **environment):
    """stderr as a person's terminal, from here on in the test."""
    stream = Terminal()
    monkeypatch.delenv("CI", raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_terminal_gets_a_bar_with_loss_accuracy_rate_and_eta(data, monkeypatch):
    terminal = become_terminal(monkeypatch)
    assert main(["train", data, *FAST]) == 0
    shown = terminal.getvalue()
    assert "\r" in shown and "ETA" in shown and "images/s" in shown
    assert "epoch 2/2  loss" in shown


def test_terminal_still_gets_one_lasting_line_an_epoch(data, monkeypatch):
    terminal = become_terminal(monkeypatch)
    main(["train", data, *FAST])
    lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert sum(line.startswith("  epoch ") and "val_acc" in line for line in lines) == 2


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "true"), ("CI", "1")])
def test_dumb_terminal_and_ci_get_plain_lines(data, monkeypatch, name, value):
    terminal = become_terminal(monkeypatch, **{name: value})
    main(["train", data, *FAST])
    assert "\r" not in terminal.getvalue()
    assert terminal.getvalue().count("val_acc") == 2


def test_no_colour_is_ever_used(data, monkeypatch):
    terminal = become_terminal(monkeypatch)
    main(["train", data, *FAST])
    assert "\x1b[3" not in terminal.getvalue()  # moving the cursor is \x1b[A at most


def test_bar_is_for_terminals_only(monkeypatch):
    become_terminal(monkeypatch)
    assert Console().shows_bars
    assert not Console(quiet=True).shows_bars
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not Console().shows_bars


@pytest.mark.slow
@pytest.mark.parametrize("size", [(0, 0), (24, 100)])
def test_real_terminal_of_any_size_gets_the_bar(data, size):
    termios = pytest.importorskip("termios")
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    master, terminal = os.openpty()
    termios.tcsetwinsize(terminal, size)
    process = subprocess.Popen(
        [sys.executable, "-m", "minicnn", "train", data, *FAST],
        stdout=subprocess.DEVNULL, stderr=terminal,
        env={**environment, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # that is how the end looks on Linux
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"ETA" in shown and b"images/s" in shown
