"""`minicnn predict`."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn.cli import main
from minicnn.cli.pictures import PictureStream

from .conftest import blocks, only_object


@pytest.fixture
def pictures(run):
    """Three pictures of three classes."""
    x, _ = blocks(3, seed=5)
    for k in range(3):
        Image.fromarray(x[k, 0]).save(f"{k}.png")
    return x


def test_predict_agrees_with_the_model_on_the_pixels(run, pictures, command):
    code, out, err = command("predict", run, "0.png", "1.png", "2.png", "--top", "3", "--json")
    expected = mc.load(run / "model.safetensors").predict_proba(pictures)
    result = only_object(out)
    assert (code, err, result["errors"]) == (0, "", [])
    for row, answer in zip(expected, result["predictions"], strict=True):
        got = {entry["class"]: entry["probability"] for entry in answer["top"]}
        assert got == pytest.approx(dict(zip(("low", "mid", "top"), row.tolist(), strict=True)))
        assert answer["class"] == max(got, key=got.get)
        assert answer["probability"] == max(got.values())


def test_predict_prints_one_line_a_picture(run, pictures, command):
    _, out, err = command("predict", run, "0.png", "1.png")
    assert [line.split()[0] for line in out.splitlines()] == ["0.png", "1.png"]
    assert all(line.endswith(" %") for line in out.splitlines())


def test_predict_top_is_sorted_and_no_longer_than_the_classes(run, pictures, command):
    _, out, _ = command("predict", run, "0.png", "--top", "9", "--json")
    probabilities = [e["probability"] for e in only_object(out)["predictions"][0]["top"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)


def test_predict_csv_has_a_header_and_quotes_names(run, pictures, command):
    Image.fromarray(pictures[0, 0]).save("a,b.png")
    _, out, _ = command("predict", run, "a,b.png", "--csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0]["path"] == "a,b.png"
    assert set(rows[0]) == {"path", "class_1", "probability_1", "class_2", "probability_2"}


def test_predict_more_pictures_than_a_batch_keeps_their_order(run, pictures, command):
    names = [f"{k % 3}.png" for k in range(130)]
    _, out, _ = command("predict", run, *names, "--json")
    assert [answer["path"] for answer in only_object(out)["predictions"]] == names


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_predict_writes_the_answers_of_a_batch_before_the_next_one(
    run, pictures, capsys, monkeypatch, form
):
    seen = []
    plain = PictureStream.batches

    def watched(self):
        for batch in plain(self):
            seen.append(capsys.readouterr().out.count(".png"))
            yield batch

    monkeypatch.setattr(PictureStream, "batches", watched)
    names = [f"{k % 3}.png" for k in range(130)]
    assert main(["predict", str(run), *names, form]) == 0
    assert seen == [0, 64, 64] and capsys.readouterr().out.count(".png") == 2


def test_predict_json_without_any_answer_is_an_object(run, command):
    result = only_object(command("predict", run, "none.png", "--json")[1])
    assert result["predictions"] == [] and len(result["errors"]) == 1


@pytest.mark.parametrize("count", [99, 100])
def test_predict_tells_the_rate_of_many_pictures(run, pictures, command, count):
    code, out, err = command("predict", run, *["0.png"] * count, "--csv")
    assert code == 0 and len(out.splitlines()) == count + 1
    told = r"  100 pictures in \d+\.\d s: [\d,]+ a second \(decoding alone: [\d,]+\)\n"
    assert re.fullmatch(told if count == 100 else "", err)


def test_predict_broken_picture_is_named_and_the_others_are_answered(run, pictures, command):
    with open("broken.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    code, out, err = command("predict", run, "0.png", "broken.png", "none.png", "1.png", "--json")
    result = only_object(out)
    assert code == 3
    assert [answer["path"] for answer in result["predictions"]] == ["0.png", "1.png"]
    assert [entry["path"] for entry in result["errors"]] == ["broken.png", "none.png"]
    lines = err.splitlines()
    assert lines[0].startswith("minicnn: error: broken.png: damaged")
    assert lines[1] == "minicnn: error: none.png: cannot be read: No such file or directory"


def test_predict_all_broken_still_prints_the_object(run, command):
    code, out, _ = command("predict", run, "none.png", "--json")
    assert code == 3
    assert only_object(out)["predictions"] == []


def test_predict_picture_with_contrary_background_gets_a_note(run, pictures, command):
    Image.fromarray(np.full((6, 6), 250, np.uint8)).save("paper.png")
    code, _, err = command("predict", run, "paper.png")
    assert code == 0
    assert err == (
        "minicnn: note: paper.png: has a light background, the training images a dark one; "
        "--invert swaps them\n"
    )
    assert command("predict", run, "paper.png", "--invert")[2] == ""


def test_predict_invert_gives_the_answer_of_the_inverted_pixels(run, pictures, command):
    Image.fromarray(255 - pictures[0, 0]).save("inverted.png")
    plain = only_object(command("predict", run, "0.png", "--json")[1])
    turned = only_object(command("predict", run, "inverted.png", "--invert", "--json")[1])
    assert plain["predictions"][0]["top"] == turned["predictions"][0]["top"]


def test_predict_model_without_preprocessing_ends_with_4(data, pictures, command):
    model = mc.Sequential(mc.Flatten(), mc.Linear(36, 3)).build((1, 6, 6))
    model.save("bare.safetensors")
    code, _, err = command("predict", "bare.safetensors", "0.png")
    assert code == 4 and "preprocessing" in err


def test_predict_model_trained_on_signed_values_ends_with_4(data, pictures, command):
    x, y = blocks()
    np.savez("signed.npz", x=x.astype(np.float32) / 128 - 1, y=y)
    command("train", "signed.npz", "--arch", "mlp", "--epochs", "1", "--out", "signed", "--quiet")
    code, _, err = command("predict", "signed", "0.png")
    assert code == 4 and "no picture gives" in err


@pytest.mark.parametrize(
    ("classes", "said"), [([1, 2, 3], "not a list of strings"), (["a"], "names 1 classes")]
)
def test_predict_model_with_senseless_classes_ends_with_4(run, pictures, command, classes, said):
    model = mc.load(run / "model.safetensors")
    model.classes = classes
    model.save("odd.safetensors")
    code, _, err = command("predict", "odd.safetensors", "0.png")
    assert code == 4 and said in err
