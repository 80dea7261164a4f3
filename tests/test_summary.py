"""The table of a model's layers."""

import minicnn as mc


def test_a_summary_counts_parameters_and_work_by_hand():
    model = mc.Sequential(
        mc.Conv2d(1, 2, 3, padding=1), mc.BatchNorm2d(2), mc.Sequential(mc.MaxPool2d(2), mc.ReLU()),
        mc.Linear(None, 3, bias=False),
    )  # fmt: skip
    lines = [line.split() for line in model.summary((1, 4, 6)).splitlines()]
    assert lines[0] == ["input", "1×4×6"]
    assert lines[1] == ["layer", "output", "parameters", "multiply-adds"]
    found = {words[0]: words[-3:] for words in lines[3:8]}
    assert found == {
        "0": ["2×4×6", "20", "432"],  # 2·(9 + 1); 9 for each of 2·24 outputs
        "1": ["2×4×6", "4", "0"],
        "2.0": ["2×2×3", "0", "0"],
        "2.1": ["2×2×3", "0", "0"],
        "3": ["3", "36", "36"],
    }
    assert lines[-1] == ["total", "60", "468"]


def test_columns_of_a_summary_are_aligned():
    text = mc.Sequential(mc.Conv2d(1, 200, 3), mc.Flatten(), mc.Linear(None, 1000)).summary(
        (1, 9, 9)
    )
    rows = text.splitlines()[1:]
    assert len({len(row) for row in rows}) == 1
    assert "9,801,000" in text and "9,800,000" in text  # (200·49)·1000, with and without biases


def test_a_summary_before_the_input_is_known_leaves_shapes_open():
    text = mc.Sequential(mc.Conv2d(None, 2, 3), mc.Linear(4, 3)).summary()
    assert text.startswith("input shape not known yet") and "?" in text
    assert text.splitlines()[-1].split() == ["total", "15", "?"]


def test_a_summary_shows_itself_as_text():
    table = mc.Sequential(mc.ReLU()).summary((3,))
    assert repr(table) == str(table) and "\n" in repr(table)


def test_grouped_work_is_divided_by_the_groups():
    grouped, full = mc.Conv2d(4, 8, 3, groups=4), mc.Conv2d(4, 8, 3)
    assert full.multiply_adds((4, 5, 5)) == 4 * grouped.multiply_adds((4, 5, 5)) == 2592
