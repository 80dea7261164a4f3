"""Saves are whole or not at all: under failing calls, SIGKILL at every call, and loss of power."""

import errno
import json
import os
import stat
import subprocess
import sys

import pytest

from minicnn.checkpoint import durable

OLD, NEW = b"old content", b"the new content" * 1000
SYSTEM_CALLS = {
    "stat", "access", "open", "fstat", "chmod", "write", "fsync", "close", "posix_fadvise",
    "read", "replace",
}  # fmt: skip
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file semantics")


class RecordingOs:
    """Stands in for the `os` module in `durable`; `before` is told of every system call."""

    def __init__(self, before=lambda number, name: None):
        self.calls = []
        self.before = before

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in SYSTEM_CALLS:
            return real

        def call(*args):
            self.calls.append(name)
            try:
                self.before(len(self.calls) - 1, name)
            except OSError:
                if name == "close":  # a failing close releases the descriptor all the same
                    real(*args)
                raise
            return real(*args)

        return call


def start_from(path, old):
    path.unlink(missing_ok=True)
    if old is not None:
        path.write_bytes(old)
        path.chmod(0o666)  # more than the usual umask leaves, so that chmod is among the calls


def system_calls_of_a_save(tmp_path, monkeypatch, old):
    path = tmp_path / "probe"
    start_from(path, old)
    recorder = RecordingOs()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", recorder)
        durable.write_bytes(path, NEW)
    path.unlink()
    return recorder.calls


def test_write_bytes_new_and_existing_file_holds_exactly_the_data(tmp_path):
    path = tmp_path / "file"
    for data in (NEW, b"", os.urandom(3 * durable._CHUNK + 7)):
        durable.write_bytes(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_write_bytes_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    previous = os.umask(0o027)
    try:
        durable.write_bytes(tmp_path / "file", NEW)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o640


@posix
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o755])
def test_write_bytes_existing_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.chmod(mode)
    durable.write_bytes(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_write_bytes_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/file")
    durable.write_bytes(link, NEW)
    assert link.is_symlink() and (tmp_path / "folder/file").read_bytes() == NEW


@posix
@pytest.mark.parametrize("target", ["/dev/null", "folder"])
def test_write_bytes_not_a_regular_file_is_refused_and_left_alone(tmp_path, target):
    (tmp_path / "folder").mkdir()
    path = tmp_path / target  # an absolute target replaces tmp_path
    before = path.stat()
    with pytest.raises(OSError) as caught:
        durable.write_bytes(path, NEW)
    assert caught.value.filename == str(path)
    assert path.stat().st_mode == before.st_mode and path.stat().st_ino == before.st_ino


def test_write_bytes_write_protected_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    # root may write everything, so the answer of the system is fixed here
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match="file"):
        durable.write_bytes(path, NEW)
    assert path.read_bytes() == OLD


def test_write_bytes_missing_folder_names_the_path(tmp_path):
    path = tmp_path / "absent" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        durable.write_bytes(path, NEW)
    assert caught.value.filename == str(path)


@posix
@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_write_bytes_failure_of_any_call_keeps_the_old_file(tmp_path, monkeypatch, code, old):
    calls = system_calls_of_a_save(tmp_path, monkeypatch, old)
    assert set(calls) == SYSTEM_CALLS - (set() if old else {"access", "fstat", "chmod"})
    path = tmp_path / "file"
    renamed = calls.index("replace")
    for failing, name in enumerate(calls):
        start_from(path, old)

        def fail(number, _, failing=failing):
            if number == failing:
                raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", RecordingOs(fail))
            if name == "posix_fadvise":  # advice only
                durable.write_bytes(path, NEW)
            else:
                with pytest.raises(OSError) as caught:
                    durable.write_bytes(path, NEW)
                assert caught.value.errno == code and caught.value.filename == str(path)
                assert durable.is_disk_full(caught.value) == (code == errno.ENOSPC)
        expected = NEW if failing > renamed or name == "posix_fadvise" else old
        assert (path.read_bytes() if path.exists() else None) == expected, (failing, name)
        assert set(os.listdir(tmp_path)) <= {"file"}, (failing, name)


@posix
def test_write_bytes_interrupt_at_any_call_leaves_no_temporary_file(tmp_path, monkeypatch):
    calls = system_calls_of_a_save(tmp_path, monkeypatch, OLD)
    path = tmp_path / "file"
    for failing in range(len(calls)):
        start_from(path, OLD)

        def interrupt(number, _, failing=failing):
            if number == failing:
                raise KeyboardInterrupt

        monkeypatch.setattr(durable, "os", RecordingOs(interrupt))
        with pytest.raises(KeyboardInterrupt):
            durable.write_bytes(path, NEW)
        monkeypatch.undo()
        assert path.read_bytes() in (OLD, NEW) and os.listdir(tmp_path) == ["file"]


@posix
def test_write_bytes_system_takes_one_byte_at_a_time_writes_all(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:1]))
    durable.write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.parametrize("damage", ["lost", "short", "changed", "longer"])
def test_write_bytes_disk_keeps_other_bytes_is_an_error(tmp_path, monkeypatch, damage):
    stored = {
        "lost": lambda data: b"",
        "short": lambda data: data[:-1],
        "changed": lambda data: bytes([data[0] ^ 1]) + data[1:],
        "longer": lambda data: data + b"\0",
    }[damage]
    real = os.write

    def write(descriptor, data):
        real(descriptor, stored(bytes(data)))
        return len(data)

    (tmp_path / "file").write_bytes(OLD)
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="Read back other bytes"):
        # exactly one reading step, so that a longer file shows only in the step after it
        durable.write_bytes(tmp_path / "file", bytes(durable._CHUNK))
    assert (tmp_path / "file").read_bytes() == OLD and os.listdir(tmp_path) == ["file"]


def test_write_bytes_system_takes_nothing_is_an_error_not_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError, match="none of the bytes"):
        durable.write_bytes(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_write_bytes_file_system_without_folder_sync_is_accepted(tmp_path, monkeypatch, code):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    durable.write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


# --- killed processes ---------------------------------------------------------------------------

# Runs in a process of its own, because forking one that has threads is not safe.
KILL_AT_EVERY_CALL = """
import json, os, signal, sys
from test_durable import NEW, OLD, RecordingOs, leftovers
from minicnn.checkpoint import durable

path, results, left = sys.argv[1] + "/file", [], []

def kill_at(target):
    def before(number, name):
        if number == target:
            os.kill(os.getpid(), signal.SIGKILL)
    return before

while True:
    with open(path, "wb") as file:
        file.write(OLD)
    child = os.fork()
    if child == 0:
        durable.os = RecordingOs(kill_at(len(results)))
        durable.write_bytes(path, NEW)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with open(path, "rb") as file:
        content = file.read()
    if not killed:
        break
    results.append("old" if content == OLD else "new" if content == NEW else "broken")
    left += leftovers(sys.argv[1])
    durable.write_bytes(path, OLD)
    for name, size in leftovers(sys.argv[1]):
        assert size == 0, name
        os.unlink(f"{sys.argv[1]}/{name}")
print(json.dumps([results, content == NEW, [size for name, size in left]]))
"""

KILL_AT_RANDOM = """
import json, mmap, os, random, signal, sys, time
from minicnn.checkpoint import durable

SIZE, ROUNDS = 1 << 18, 40
path, draw = sys.argv[1] + "/file", random.Random(1)
shared = mmap.mmap(-1, 16)  # byte 0: inside a save; byte 1: number of the last complete save
inside = broken = 0
durable.write_bytes(path, bytes(SIZE))
for _ in range(ROUNDS):
    child = os.fork()
    if child == 0:
        while True:
            number = (shared[1] + 1) % 256
            data = bytes([number]) * SIZE
            shared[0] = 1
            durable.write_bytes(path, data)
            shared[1] = number
            shared[0] = 0
    time.sleep(draw.uniform(0.001, 0.015))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    inside += shared[0]
    with open(path, "rb") as file:
        content = file.read()
    allowed = [shared[1], (shared[1] + 1) % 256] if shared[0] else [shared[1]]
    broken += content not in [bytes([number]) * SIZE for number in allowed]
    shared[1], shared[0] = content[0], 0
print(json.dumps([ROUNDS, inside, broken]))
"""


def leftovers(folder):
    """Names and sizes of temporary files; nothing else may be beside the file."""
    names = set(os.listdir(folder)) - {"file"}
    assert all(name.startswith(".minicnn-") and name.endswith(".tmp") for name in names), names
    return [(name, os.stat(os.path.join(folder, name)).st_size) for name in sorted(names)]


def run_script(source, folder):
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
def test_write_bytes_killed_at_every_call_leaves_old_or_new(tmp_path):
    results, completed, left = run_script(KILL_AT_EVERY_CALL, tmp_path)
    assert completed and "broken" not in results
    # every call up to the rename still finds the old file, every later one the new file
    assert results == sorted(results, reverse=True) and results.count("old") >= 10
    assert results.count("new") >= 2
    # what was left: nothing written yet, or all; the next save removed the latter
    assert set(left) == {0, len(NEW)}


@posix
def test_write_bytes_killed_at_random_moments_leaves_a_whole_save(tmp_path):
    rounds, inside, broken = run_script(KILL_AT_RANDOM, tmp_path)
    assert inside >= rounds // 4, "the kills did not land inside saves; the test shows nothing"
    assert broken == 0


# --- what killed processes leave behind -----------------------------------------------------------


def leave_behind(path, content):
    """A temporary file as a process that was killed inside a save of `path` leaves it."""
    left = path.parent / (os.path.basename(durable._temporary_prefix(str(path))) + "0.tmp")
    left.write_bytes(content)
    return left


@posix
def test_write_bytes_removes_what_a_killed_save_of_the_same_file_left(tmp_path):
    left = leave_behind(tmp_path / "file", NEW[:100])
    durable.write_bytes(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == ["file"] and not left.exists()


@posix
def test_write_bytes_leaves_other_files_alone(tmp_path):
    other = leave_behind(tmp_path / "other", NEW)
    names = [other.name, ".minicnn-notes", ".minicnn-0123456789abcdef.tmp", "file.tmp"]
    for name in names[1:]:
        (tmp_path / name).write_bytes(OLD)
    durable.write_bytes(tmp_path / "file", NEW)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "file"])


@posix
@pytest.mark.parametrize("age, kept", [(0, True), (3000, True), (3700, False)])
def test_write_bytes_keeps_an_empty_file_for_an_hour(tmp_path, age, kept):
    left = leave_behind(tmp_path / "file", b"")
    now = left.stat().st_mtime
    os.utime(left, (now - age, now - age))
    durable.write_bytes(tmp_path / "file", NEW)
    assert left.exists() == kept


@posix
@pytest.mark.parametrize("failing", ["listdir", "unlink", "open"])
def test_write_bytes_saves_although_leftovers_cannot_be_removed(tmp_path, monkeypatch, failing):
    left = leave_behind(tmp_path / "file", NEW)
    if failing == "open":
        left.unlink()
        left.mkdir()
    else:

        def refuse(*arguments):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(durable.os, failing, refuse)
    durable.write_bytes(tmp_path / "file", NEW)
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == NEW and left.exists()


@posix
def test_write_bytes_without_locks_saves_and_removes_nothing(tmp_path, monkeypatch):
    left = leave_behind(tmp_path / "file", NEW)

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(durable.fcntl, "flock", refuse)
    durable.write_bytes(tmp_path / "file", NEW)
    monkeypatch.setattr(durable, "fcntl", None)
    durable.write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW and left.exists()


SAVE_AND_WAIT = """
import os, sys, time
from minicnn.checkpoint import durable

def wait(*arguments):
    print("inside", flush=True)
    sys.stdin.readline()
    return replace(*arguments)

replace = os.replace
os.replace = wait
durable.write_bytes(sys.argv[1], b"slow")
"""


@posix
def test_write_bytes_leaves_the_file_of_a_living_process_alone(tmp_path):
    path = tmp_path / "file"
    slow = subprocess.Popen(
        [sys.executable, "-c", SAVE_AND_WAIT, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert slow.stdout.readline() == "inside\n"
    durable.write_bytes(path, NEW)
    assert len(leftovers(tmp_path)) == 1 and path.read_bytes() == NEW
    slow.communicate("go on\n", timeout=30)
    assert slow.returncode == 0 and path.read_bytes() == b"slow"
    assert os.listdir(tmp_path) == ["file"]


# --- loss of power ------------------------------------------------------------------------------


def trace_of_a_save(path, monkeypatch):
    """The steps of a save that matter to a disk, in order."""
    trace = []

    class TracingOs(RecordingOs):
        def __getattr__(self, name):
            real = getattr(os, name)

            def call(*args):
                if name == "write":
                    trace.append("write")
                elif name == "fsync":
                    folder = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                    trace.append("sync folder" if folder else "sync file")
                elif name == "replace":
                    trace.append("rename")
                return real(*args)

            return call if name in {"write", "fsync", "replace"} else real

    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", TracingOs())
        durable.write_bytes(path, NEW)
    return trace


def possible_contents(steps):
    """What the name may hold after a loss of power right after `steps`.

    Written bytes that were not forced out may be there, in part, as zeros, or not at all; a
    rename that was not forced out may have happened or not, whatever the state of the bytes.
    """
    file_contents, names = {b""}, {"old"}
    for step in steps:
        if step == "write":
            file_contents = {b"", NEW[: len(NEW) // 2], bytes(len(NEW)), NEW}
        elif step == "sync file":
            file_contents = {NEW} if "write" in steps else {b""}
        elif step == "rename":
            names = names | {"new"}
        elif step == "sync folder" and "new" in names:
            names = {"new"}
    return ({OLD} if "old" in names else set()) | (file_contents if "new" in names else set())


def survives_power_loss(trace):
    whole = all(possible_contents(trace[:n]) <= {OLD, NEW} for n in range(len(trace) + 1))
    return whole and possible_contents(trace) == {NEW}


@posix
def test_write_bytes_power_lost_after_any_step_leaves_old_or_new(tmp_path, monkeypatch):
    trace = trace_of_a_save(tmp_path / "file", monkeypatch)
    assert survives_power_loss(trace), trace


@posix
@pytest.mark.parametrize("forgotten", ["sync file", "sync folder", "write", "rename"])
def test_power_loss_check_save_without_a_step_is_rejected(tmp_path, monkeypatch, forgotten):
    trace = trace_of_a_save(tmp_path / "file", monkeypatch)
    assert not survives_power_loss([step for step in trace if step != forgotten])


# --- JSON ---------------------------------------------------------------------------------------


def test_write_json_plain_data_reads_back_equal(tmp_path):
    value = {"classes": ["犬", 'b"ird'], "lr": 0.1, "path": "caf\udce9", "none": None}
    durable.write_json(tmp_path / "file.json", value)
    assert json.loads((tmp_path / "file.json").read_text("utf-8")) == value
    assert "犬" in (tmp_path / "file.json").read_text("utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_write_json_value_outside_json_is_refused_before_writing(tmp_path, value):
    (tmp_path / "file.json").write_bytes(OLD)
    with pytest.raises((TypeError, ValueError)):
        durable.write_json(tmp_path / "file.json", {"value": value})
    assert (tmp_path / "file.json").read_bytes() == OLD


@pytest.mark.parametrize(
    ("code", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)]
)
def test_is_disk_full_tells_lack_of_space_from_other_errors(code, full):
    assert durable.is_disk_full(OSError(code, "")) is full
