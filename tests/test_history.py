"""The history: columns, the best epoch, plain data, the table."""

import math

import pytest

import minicnn as mc

ROWS = [
    {"epoch": 1, "loss": 2.0, "val_accuracy": 0.5, "seconds": 1.5, "images_per_second": 10.0,
     "wait_seconds": 0.5},
    {"epoch": 2, "loss": 0.5, "val_accuracy": 0.9, "seconds": 1.0, "images_per_second": 20.0,
     "wait_seconds": 0.0},
    {"epoch": 3, "loss": 0.5, "val_accuracy": 0.8, "seconds": 1.0, "images_per_second": 20.0,
     "wait_seconds": 0.0},
]  # fmt: skip


def test_history_by_name_and_by_number_gives_columns_and_rows():
    history = mc.History(ROWS)
    assert history["loss"] == [2.0, 0.5, 0.5]
    assert history[-1] == ROWS[-1] and list(history) == ROWS and len(history) == 3


def test_history_with_an_unknown_name_says_what_there_is():
    with pytest.raises(KeyError, match="there is no 'val_loss'; there are epoch, loss"):
        mc.History(ROWS)["val_loss"]


def test_best_of_a_loss_is_the_first_lowest_and_of_an_accuracy_the_highest():
    history = mc.History(ROWS)
    assert history.best("loss")["epoch"] == 2
    assert history.best("val_accuracy")["epoch"] == 2
    assert history.best("val_accuracy", mode="min")["epoch"] == 1


def test_best_with_nan_among_the_values_skips_them():
    rows = [{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": 3.0}]
    assert mc.History(rows).best("loss")["epoch"] == 2


@pytest.mark.parametrize(
    "history, metric, error, message",
    [
        (mc.History(), "loss", ValueError, "no epoch with a number"),
        (mc.History(ROWS), "val_loss", KeyError, "there is no 'val_loss'"),
        (mc.History(ROWS), "seconds", ValueError, "use mode='min' or 'max'"),
    ],
)
def test_best_without_an_answer_is_an_error(history, metric, error, message):
    with pytest.raises(error, match=message):
        history.best(metric)


def test_history_to_json_and_back_is_equal():
    history = mc.History(ROWS)
    assert mc.History.from_json(history.to_json()) == history != mc.History(ROWS[:2])


def test_history_to_json_without_timings_leaves_them_none():
    rows = mc.History(ROWS).to_json(timings=False)
    assert rows[0] == {"epoch": 1, "loss": 2.0, "val_accuracy": 0.5}
    assert mc.History.from_json(rows)["seconds"] == [None, None, None]


def test_history_repr_is_a_table():
    assert repr(mc.History(ROWS[:2])).splitlines() == [
        "epoch  loss  val_accuracy  seconds  images_per_second  wait_seconds",
        "    1     2           0.5      1.5                 10           0.5",
        "    2   0.5           0.9        1                 20             0",
    ]
    assert repr(mc.History()) == "History of 0 epochs"
