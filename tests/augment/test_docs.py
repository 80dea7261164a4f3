"""The Python of docs/augmentation.md runs as printed."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "augmentation.md"


def test_the_pages_code_runs_as_printed():
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S):
        exec(compile(code, PAGE.name, "exec"), names)
    assert names["changed"].shape == (8, 1, 8, 8)
    digits = names["digits"].images[:8] / 255
    np.testing.assert_allclose(names["negatives"], 1 - digits, atol=1e-6)
