"""The seed project's `.model` files on the command line."""

import json
import os
import shutil

import numpy as np
import pytest

from minicnn.data.pictures import load_picture
from minicnn.interop import load_seed_model, save_seed_model
from minicnn.interop.seed import PREPROCESSING

from .conftest import only_object

TRAINED = "seed/iter_395000_train_0.918_valid_0.913.model"
WITHOUT_STATISTICS = "seed/iter_20000_train_0.988_valid_0.770.model"
# (dog, panda, bird), as the seed's own program says.
SAID = {
    "dog": (0.8506, 0.0000, 0.1493),
    "panda": (0.0000, 0.9999, 0.0000),
    "bird": (0.0000, 0.0000, 0.9999),
    "dog_3": (0.9984, None, None),
    "panda_2": (None, 0.9999, None),
    "bird_2": (None, None, 0.9997),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_predict_seed_model_says_what_the_seed_said(data_dir, command):
    photos = sorted((data_dir / "seed" / "images").glob("*.jpg"))
    code, out, err = command("predict", data_dir / TRAINED, *photos, "--top", "3", "--json")
    assert (code, err) == (0, "")
    answers = {}
    for answer in json.loads(out)["predictions"]:
        name = answer["path"].rpartition("/")[2].removesuffix(".jpg")
        answers[name] = {entry["class"]: entry["probability"] for entry in answer["top"]}
    assert len(answers) == 9
    for name, expected in SAID.items():
        for label, probability in zip(("dog", "panda", "bird"), expected, strict=True):
            # Four decimals are known; another JPEG decoder may add a level here and there.
            if probability is not None:
                assert answers[name][label] == pytest.approx(probability, abs=2e-3), (name, label)


def test_predict_seed_model_agrees_with_its_logits_on_all_nine_photos(data_dir, command):
    golden = np.load(data_dir / "seed" / "golden.npz")
    logits = dict(zip(golden["names"].tolist(), golden["logits"].astype(float), strict=True))
    photos = sorted((data_dir / "seed" / "images").glob("*.jpg"))
    _, out, _ = command("predict", data_dir / TRAINED, *photos, "--top", "3", "--json")
    for answer in json.loads(out)["predictions"]:
        row = logits[answer["path"].rpartition("/")[2]]
        expected = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        got = {entry["class"]: entry["probability"] for entry in answer["top"]}
        named = dict(zip(("dog", "panda", "bird"), expected, strict=True))
        assert got == pytest.approx(named, abs=2e-3)  # as above


def test_info_describes_a_seed_model(data_dir, command):
    code, out, _ = command("info", data_dir / TRAINED, "--json")
    described = json.loads(out)
    assert (code, described["classes"]) == (0, ["dog", "panda", "bird"])
    assert described["preprocessing"]["order"] == "BGR"
    assert described["parameters"] == 111_267


def test_evaluate_seed_model_turns_the_images_blue_first(data_dir, command):
    golden = np.load(data_dir / "seed" / "golden.npz")
    rgb = np.ascontiguousarray(golden["pixels_bgr"].transpose(0, 3, 1, 2)[:, ::-1])
    model = load_seed_model(data_dir / TRAINED)
    said = model.predict(np.ascontiguousarray(rgb[:, ::-1]))
    np.savez("photos.npz", x=rgb, y=said, classes=np.array(["dog", "panda", "bird"]))
    _, out, _ = command("evaluate", data_dir / TRAINED, "photos.npz", "--split", "all", "--json")
    reversed_loss = model.evaluate(rgb, said)["loss"]
    got = json.loads(out)
    assert got["accuracy"] == 1
    assert got["loss"] < 0.5 * reversed_loss  # red first is another picture to this model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-4], "is 445,064 bytes long"),
        (lambda content: content + b"more", "is 445,072 bytes long"),
        (lambda content: b"", "is 0 bytes long"),
        (lambda content: (b"GIF89a and so on " * 30_000)[: len(content)], "0.weight"),
    ],
)
def test_predict_short_long_or_foreign_file_ends_with_4(data_dir, command, change, said):
    with open("odd.model", "wb") as file:
        file.write(change((data_dir / TRAINED).read_bytes()))
    code, out, err = command("predict", "odd.model", data_dir / "seed/images/dog.jpg")
    assert (code, out) == (4, "")
    assert err.startswith("minicnn: error: odd.model: ") and said in err


@pytest.mark.parametrize("name", ["predict", "evaluate", "explain"])
def test_seed_model_without_statistics_ends_with_4_and_says_what_to_do(data_dir, command, name):
    code, out, err = command(name, data_dir / WITHOUT_STATISTICS, data_dir / "seed/images")
    assert (code, out) == (4, "")
    assert "without running mean and variance" in err and "--calibrate FOLDER" in err


def test_info_of_a_seed_model_without_statistics_describes_it_and_says_what_lacks(
    data_dir, command
):
    code, out, err = command("info", data_dir / WITHOUT_STATISTICS)
    assert code == 0 and "BatchNorm2d" in out and "--calibrate FOLDER" in err
    lacks = [
        only_object(command("info", data_dir / name, "--json")[1])["lacks_statistics"]
        for name in (WITHOUT_STATISTICS, TRAINED)
    ]
    assert lacks == [True, False]


def with_statistics(data_dir, images):
    """A model of the third variant, in stored.model, and the same model in memory."""
    model = load_seed_model(data_dir / WITHOUT_STATISTICS, calibrate=images)
    save_seed_model("stored.model", model)
    assert os.path.getsize("stored.model") == 448_908
    return model


def test_predict_all_three_variants_say_what_the_model_says(data_dir, command):
    photos = sorted((data_dir / "seed" / "images").glob("*.jpg"))
    inputs = np.stack([load_picture(path, PREPROCESSING) for path in photos])
    model = with_statistics(data_dir, inputs)
    expected = [["dog", "panda", "bird"][k] for k in model.predict(inputs)]
    for words in (
        ("stored.model",),
        (data_dir / WITHOUT_STATISTICS, "--calibrate", data_dir / "seed/images"),
    ):
        code, out, _ = command("predict", *words, data_dir / "seed/images", "--json")
        answers = only_object(out)["predictions"]
        assert code == 0 and [answer["class"] for answer in answers] == expected
        largest = model.predict_proba(inputs).max(axis=1)
        got = [answer["probability"] for answer in answers]
        np.testing.assert_allclose(got, largest, atol=1e-5)  # float32, batches of another size


def test_evaluate_calibrated_model_is_right_on_most_photos(data_dir, command):
    for label in ("bird", "dog", "panda"):
        os.makedirs(f"photos/{label}")
        for path in sorted((data_dir / "animals" / label).iterdir())[:12]:
            os.symlink(path, f"photos/{label}/{path.name}")
    words = ("evaluate", data_dir / WITHOUT_STATISTICS, "photos", "--calibrate", "photos")
    code, out, _ = command(*words, "--json")
    assert code == 0 and only_object(out)["accuracy"] > 0.75  # 0.91 of many; chance is 0.33


@pytest.mark.parametrize(
    ("name", "folder", "code", "said"),
    [
        (TRAINED, "seed/images", 2, "lacks no statistics; leave it out"),
        (WITHOUT_STATISTICS, "mnist", 3, "has 0 pictures that can be read; expected 8"),
        (WITHOUT_STATISTICS, "nowhere", 3, "has 0 pictures"),
    ],
)
def test_calibrate_where_it_does_not_help_is_refused(data_dir, command, name, folder, code, said):
    words = ("predict", data_dir / name, data_dir / "seed/images/dog.jpg")
    got, out, err = command(*words, "--calibrate", data_dir / folder)
    assert (got, out) == (code, "") and said in err


def test_evaluate_seed_model_on_a_folder_reads_the_photos_as_predict_does(data_dir, command):
    for label, names in {"dog": ["dog", "yuan"], "panda": ["panda"], "bird": ["bird"]}.items():
        os.makedirs(f"photos/{label}")
        for name in names:
            shutil.copy(data_dir / "seed" / "images" / f"{name}.jpg", f"photos/{label}")
    _, out, _ = command("evaluate", data_dir / TRAINED, "photos", "--json")
    golden = np.load(data_dir / "seed" / "golden.npz")
    rows = dict(zip(golden["names"].tolist(), golden["logits"].astype(float), strict=True))
    said = [(rows["dog.jpg"], 0), (rows["yuan.jpg"], 0), (rows["panda.jpg"], 1),
            (rows["bird.jpg"], 2)]  # fmt: skip
    losses = [np.log(np.exp(row - row[k]).sum()) for row, k in said]
    # With minicnn's own resize the mean loss is 0.012 lower.
    assert json.loads(out)["loss"] == pytest.approx(np.mean(losses), abs=2e-3)
