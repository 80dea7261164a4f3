"""The README's Python block runs as printed; its commands are run by .ci/run."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_readme_library_code_runs_as_printed_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    model = names["model"]
    assert model.evaluate(names["xv"], names["yv"])["accuracy"] > 0.9
    assert (tmp_path / "digits.safetensors").is_file()
    assert "accuracy" in capsys.readouterr().out


def test_readme_has_two_commands_and_says_where_minicnn_comes_from():
    commands = [line[2:] for line in blocks("console")[0].splitlines() if line.startswith("$ ")]
    assert len(commands) == 2
    assert all(command.startswith('pip install "."') or 'pip install ".[' in command
               for command in commands)  # fmt: skip
    assert "pip install minicnn" not in README
