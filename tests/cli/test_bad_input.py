"""Whatever is wrong with what goes in has its message and its exit code, and harms nothing saved.

What is tested elsewhere: broken photos of every kind, one class, an empty one, two pictures, links
in a circle and folders without permission in `test_photos.py` and `data/test_image_folder.py`;
what `minicnn check` says of them in `test_check.py`; single writes that fail in
`test_exit_codes.py`.
"""

import os
import resource
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import pytest
from data.photos import COLOURS, save_photo

import minicnn as mc
from minicnn import checkpoint

from .conftest import FAST, only_object, start
from .test_photos import TINY, photo_run, photos  # noqa: F401

# Latin with marks (composed and not), Greek, Arabic, Han, Devanagari, an emoji, blanks, signs.
NAMES = [
    "Zoë",
    "Zoe\u0308",
    "άλογο",
    "طائر",
    "熊猫",
    "कुत्ता",
    "🐼",
    "two words",
    "a;b'c\"d&e",
    "%s{}",
]


def test_names_in_any_script_come_through(photos, command):  # noqa: F811
    shutil.rmtree(photos)
    for k, name in enumerate(NAMES):
        for n in range(4):
            save_photo(Path(photos, name, f"{name} {n}.png"), (20 * k, 255 - 20 * k, 99), n)
    code, _, err = command("train", photos, *TINY, "--quiet", "--out", "läuft 跑")
    assert code == 0, err
    model = mc.load("läuft 跑/model.safetensors")
    assert model.classes == sorted(NAMES)
    words = ("predict", "läuft 跑", photos, "--json")
    predictions = only_object(command(*words)[1])["predictions"]
    assert sorted(entry["path"] for entry in predictions) == sorted(
        str(path) for path in Path(photos).glob("*/*.png")
    )
    assert {entry["class"] for entry in predictions} <= set(NAMES)
    assert command("evaluate", "läuft 跑", "--split", "all")[0] == 0
    report = only_object(command("check", photos, "--json")[1])
    assert sorted(report["counts"]["train"]) == sorted(NAMES)


def test_folder_whose_name_is_no_text_ends_with_3(photos, command):  # noqa: F811
    os.mkdir(os.fsencode(photos) + b"/\xff\xfe")
    for name in ("train", "check"):
        code, out, err = command(name, photos)
        assert (code, out) == (3, "") and "not UTF-8 text" in err and "rename it" in err


def test_file_whose_name_is_no_text_is_predicted(photos, photo_run, command):  # noqa: F811
    shutil.copy(Path(photos, "red/00.png"), os.fsencode(photos) + b"/red/\xff.png")
    code, out, _ = command("predict", photo_run, photos, "--csv")
    assert code == 0 and len(out.splitlines()) == 38


def write_png_header(path, width, height):
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_pictures_of_1x1_and_50000x50000_pixels(photos, photo_run, command):  # noqa: F811
    save_photo(Path(photos, "red/dot.png"), COLOURS["red"], size=(1, 1))
    write_png_header(Path(photos, "red/huge.png"), 50_000, 50_000)
    code, _, err = command("train", photos, *TINY)
    assert code == 3 and "red/huge.png: declares more than" in err and "dot.png" not in err
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, err = command(
        "predict", photo_run, f"{photos}/red/dot.png", f"{photos}/red/huge.png"
    )
    assert code == 3 and out.startswith("photos/red/dot.png  red ")
    assert "huge.png: declares more than" in err
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000  # kB; unpacked it would be 7.5 million


@pytest.mark.parametrize("name", ["train", "check", "info"])
def test_empty_folder_and_folder_without_classes_end_with_3(photos, command, name):  # noqa: F811
    Path("empty").mkdir()
    Path("loose").mkdir()
    save_photo(Path("loose/a.png"), (1, 2, 3))
    for root, said in (("empty", "no photos"), ("loose", "pictures but no folder for each class")):
        code, out, err = command(name, root)
        assert (
            (code, out) == (3, "") and err.startswith(f"minicnn: error: {root}: ") and said in err
        )


def test_thousands_of_files_train_and_are_predicted(photos, command):  # noqa: F811
    """The listing of 100,000 was timed by hand (docs/data.md)."""
    small = Path("small.png")
    shutil.rmtree(photos)
    for name, colour in COLOURS.items():
        save_photo(small, colour, size=(3, 3))
        Path(photos, name).mkdir(parents=True)
        for k in range(700):
            os.link(small, Path(photos, name, f"{k:04d}.png"))
        small.unlink()
    code, out, err = command("train", photos, *TINY, "--quiet")
    assert code == 0 and "100.00 %" in out, err
    code, out, _ = command("predict", "runs/train-001", photos, "--csv")
    assert code == 0 and len(out.splitlines()) == 2101


# --- run folders -----------------------------------------------------------------------------


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def spoil(run, kind):
    """Damage a run as `kind` says; what the message has to contain."""
    model, last = run / "model.safetensors", run / "last.safetensors"
    if kind == "half-written":
        for name in ("model.safetensors", "last.safetensors", "summary.json", "results.csv"):
            (run / name).unlink()
        return "not a run folder"
    if kind == "cut off":
        model.write_bytes(model.read_bytes()[:1000])
        return "model.safetensors"
    if kind == "one bit":
        data = bytearray(model.read_bytes())
        data[-50] ^= 4
        model.write_bytes(data)
        return "model.safetensors"
    if kind == "empty":
        model.write_bytes(b"")
        return "model.safetensors"
    if kind == "of another run":
        shutil.copy(last, model)
        return "model.safetensors"
    assert kind == "newer version"
    data = model.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'\\"minicnn_format\\":1', b'\\"minicnn_format\\":9')
    model.write_bytes(data[:8] + header + data[8 + size :])
    return "format version 9, this minicnn reads up to 1; use the newer minicnn"


KINDS = ["half-written", "cut off", "one bit", "empty", "of another run", "newer version"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["predict", "evaluate", "export"])
def test_damaged_run_ends_with_4_and_stays_as_it_is(run, command, kind, name):
    said = spoil(run, kind)
    before = content(run)
    rest = {"predict": ("none.png",), "evaluate": (), "export": ("--to", "npz")}[name]
    code, out, err = command(name, run, *rest)
    assert (code, out) == (4, "") and said in err and "Traceback" not in err
    assert content(run) == before


@pytest.mark.parametrize("damage", ["missing", "cut off", "one bit", "newer version"])
def test_state_that_cannot_be_resumed_ends_with_4_and_the_model_stays(run, command, damage):
    (run / "summary.json").unlink()  # as if it had been stopped
    last = run / "last.safetensors"
    data = bytearray(last.read_bytes())
    if damage == "missing":
        last.unlink()
    elif damage == "cut off":
        last.write_bytes(data[:-1])
    elif damage == "one bit":
        data[-9] ^= 1
        last.write_bytes(data)
    else:
        last.write_bytes(bytes(data).replace(b'\\"minicnn_format\\":1', b'\\"minicnn_format\\":9'))
    before = content(run)
    code, out, err = command("train", "--resume", run, "--quiet")
    assert (code, out) == (4, "") and "Traceback" not in err
    assert ("nothing to resume" if damage == "missing" else "last.safetensors") in err
    assert content(run) == before
    mc.load(run / "model.safetensors")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("args.json", '{"format": 99}', "args.json: format 99"),
        ("args.json", '{"form', "args.json: damaged"),
        ("summary.json", "[]", "summary.json: holds a list"),
    ],
)
def test_run_with_damaged_settings_ends_with_4(run, command, file, text, said):
    (run / file).write_text(text)
    code, out, err = command("train", "--resume", run, "--quiet")
    assert (code, out) == (4, "") and said in err
    mc.load(run / "model.safetensors")


def wait_for_epochs(process, run, epochs):
    """Until the log of a run has so many lines below its head."""
    deadline = time.monotonic() + 60
    log = run / "results.csv"
    while not log.exists() or log.read_text().count("\n") <= epochs:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
def test_disk_that_becomes_full_while_training_ends_with_6_and_loses_nothing(data, command):
    """The system itself refuses to write more: the limit on the size of files is lowered."""
    process = start("train", data, *FAST, "--epochs", "100000", "--schedule", "constant")
    run = Path("runs/train-001")
    wait_for_epochs(process, run, 3)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4000, 4000))  # bytes; a model has 20,000
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (6, "") and "Traceback" not in err
    assert "File too large" in err and "minicnn train --resume runs/train-001" in err
    assert mc.load(run / "model.safetensors").classes == ["low", "mid", "top"]
    epoch = checkpoint.read(run / "last.safetensors")[1]["epoch"]
    assert epoch >= 2 and not list(run.glob("*tmp*"))
    assert command("predict", run, "none.png")[0] == 3  # the model could be read
    entry = only_object(command("runs", "--json")[1])["runs"][0]
    assert entry["complete"] is False and entry["epochs"] in (epoch, epoch - 1, epoch + 1)
    process = start("train", "--resume", run)
    wait_for_epochs(process, run, entry["epochs"] + 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
