"""The example of docs/explain.md runs as printed."""

import re
from pathlib import Path

import pytest
from PIL import Image

TEXT = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_explain_example_runs_and_draws_the_map(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "explain.md", "exec"), names)
    assert names["trust"].score > 0
    assert abs(names["likeness"]) < 0.9
    assert capsys.readouterr().out
    with Image.open("heat.png") as image:
        assert image.size == (896, 448)
