"""Run folders: numbered, never overwritten, found again."""

import threading

import pytest

from minicnn import runs


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_create_counts_up_from_the_highest_number(tmp_path):
    assert [str(runs.create().folder) for _ in range(2)] == ["runs/train-001", "runs/train-002"]
    (tmp_path / "runs/train-041").mkdir()
    (tmp_path / "runs/train-9x").mkdir()
    (tmp_path / "runs/train-001").rmdir()
    assert str(runs.create().folder) == "runs/train-042"


def test_create_goes_on_after_999(tmp_path):
    (tmp_path / "runs/train-999").mkdir(parents=True)
    assert str(runs.create().folder) == "runs/train-1000"
    assert str(runs.newest().folder) == "runs/train-1000"


def test_create_at_the_same_time_gives_everyone_a_folder():
    made = []
    threads = [threading.Thread(target=lambda: made.append(str(runs.create()))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 16


def test_create_takes_an_empty_folder_and_new_parents(tmp_path):
    (tmp_path / "empty").mkdir()
    assert str(runs.create("empty").folder) == "empty"
    assert runs.create("a/b/c").folder.is_dir()


@pytest.mark.parametrize("kind", ["file", "folder", "below a file"])
def test_create_never_takes_what_is_there(tmp_path, kind):
    if kind == "folder":
        (tmp_path / "x").mkdir()
        (tmp_path / "x/keep").write_text("1")
    else:
        (tmp_path / "x").write_text("1")
    with pytest.raises(runs.RunError, match="--out"):
        runs.create("x/y" if kind == "below a file" else "x")


def test_newest_is_the_highest_number_not_the_last_name(tmp_path):
    for name in ("train-099", "train-100", "train-020"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(runs.newest().folder) == "runs/train-100"


def test_newest_without_runs_says_so(tmp_path):
    with pytest.raises(runs.RunError, match="holds no runs"):
        runs.newest()
    (tmp_path / "runs").mkdir()
    with pytest.raises(runs.RunError, match="holds no runs"):
        runs.newest()


def test_find_model_takes_a_folder_or_a_file(tmp_path):
    run = runs.create("r")
    run.model.write_bytes(b"")
    assert runs.find_model("r") == run.model
    assert runs.find_model("r/model.safetensors") == run.model


@pytest.mark.parametrize(
    ("files", "message"),
    [((), "not a run folder"), (("last.safetensors",), "minicnn train --resume r")],
)
def test_find_model_of_a_folder_without_model_says_why(files, message):
    run = runs.create("r")
    for name in files:
        (run.folder / name).write_bytes(b"")
    with pytest.raises(runs.RunError, match=message):
        runs.find_model("r")


def test_find_model_of_nothing_is_an_error():
    with pytest.raises(runs.RunError, match="none: no such run folder or model file"):
        runs.find_model("none")


def test_json_files_read_back_with_any_name():
    run = runs.create()
    value = {"name": "dåta \udcff", "n": 1.5, "none": None}
    runs.write_json(run.arguments, value)
    assert run.read(run.arguments) == value


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named(content):
    run = runs.create()
    run.arguments.write_bytes(content)
    with pytest.raises(runs.RunError, match=r"args\.json"):
        run.read(run.arguments)


def test_run_is_complete_when_its_summary_is_there():
    run = runs.create()
    assert not run.complete
    runs.write_json(run.summary, {})
    assert run.complete
