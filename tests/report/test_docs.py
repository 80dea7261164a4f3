"""The Python block of docs/report.md runs as printed."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "report.md"


def test_report_page_code_runs_as_printed(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    names: dict[str, object] = {}
    exec(compile(code, PAGE.name, "exec"), names)
    assert 1 < names["temperature"] < 10
    assert "(0.87" in capsys.readouterr().out
