"""How many threads are used by default, and what happens to them in other processes."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
from thread_steps import child, step

import minicnn as mc
from minicnn import threads

WATCHDOG = 40  # seconds after which a child counts as hung; it needs one or two


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder in the place of /sys/fs/cgroup, on a machine of eight CPUs without wishes."""
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def version1(root, quota, period):
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (root / "cpu" / "cpu.cfs_period_us").write_text(period)


# --- the default -------------------------------------------------------------------------------


def test_default_is_the_affinity_mask(root, monkeypatch):
    assert threads.default_num_threads() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert threads.default_num_threads() == 2


def test_default_without_an_affinity_mask_is_the_cpu_count(root, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((6, 6), (None, 1), (10_000, threads.MAX_THREADS)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert threads.default_num_threads() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000", 2), ("1000 100000", 1),
        ("10000000 100000", 8), ("", 8), ("max", 8), ("nonsense 100000", 8), ("100000 0", 8),
        ("-1 100000", 8), ("0 100000", 8), ("300000 100000 7", 3),
    ],
)  # fmt: skip
def test_a_quota_of_cgroups_version_2_caps_the_default(root, text, expected):
    (root / "cpu.max").write_text(text)
    assert threads.default_num_threads() == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("-1\n", "100000\n", 8), ("250000\n", "100000\n", 3), ("x", "100000", 8), ("", "", 8)],
)
def test_a_quota_of_cgroups_version_1_caps_the_default(root, quota, period, expected):
    version1(root, quota, period)
    assert threads.default_num_threads() == expected


def test_an_unlimited_version_2_gives_way_to_a_limit_of_version_1(root):
    (root / "cpu.max").write_text("max 100000")
    version1(root, "400000", "100000")
    assert threads.default_num_threads() == 4


def test_bytes_that_are_no_text_limit_nothing(root):
    (root / "cpu.max").write_bytes(b"\xff\xfe 100000")
    assert threads.default_num_threads() == 8


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("3", 3), (" 3 ", 3), ("3,2,1", 3), ("64", 64), ("999999", threads.MAX_THREADS),
        ("9" * 5000, threads.MAX_THREADS), ("0" * 20 + "3", 3), ("", 8), ("0", 8),
        ("-2", 8), ("two", 8), ("1.5", 8), ("³", 8), (",3", 8),
    ],
)  # fmt: skip
def test_omp_num_threads_replaces_the_default_where_it_is_a_number(
    root, monkeypatch, wish, expected
):
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    (root / "cpu.max").write_text("max 100000")
    assert threads.default_num_threads() == expected


# --- setting it --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 1024, np.int64(3)])
def test_the_number_that_was_set_is_used(keep_threads, n):
    mc.set_num_threads(n)
    assert mc.get_num_threads() == n and type(mc.get_num_threads()) is int


@pytest.mark.parametrize("n", [0, -1, 1025, 2**31, 2**63])
def test_a_number_out_of_range_is_a_value_error(n):
    before = mc.get_num_threads()
    with pytest.raises(ValueError, match=f"num_threads is {n}; expected 1 to 1024"):
        mc.set_num_threads(n)
    assert mc.get_num_threads() == before


@pytest.mark.parametrize(
    "n", [True, 2.0, "2", None, [2], np.float32(2), np.True_, np.array([1, 2])]
)
def test_what_is_no_number_is_a_type_error(n):
    with pytest.raises(TypeError, match="num_threads is .*; expected a whole number"):
        mc.set_num_threads(n)


# --- other processes ---------------------------------------------------------------------------


def report_of_child(method):
    """What `child` reports from a process started by that method; a hung one is ended."""
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    process.join(WATCHDOG)
    process.kill()
    assert process.exitcode == 0, f"exit code {process.exitcode}; None means that it hung"
    return queue.get()


FORKS = """
import os, signal, sys, time
import minicnn as mc
from thread_steps import step

mc.set_num_threads(2)
expected = step()
for _ in range(20):
    pid = os.fork()
    if not pid:
        os._exit(0 if step() == expected and mc.get_num_threads() == 1 else 3)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            sys.exit("a forked child hangs")
        time.sleep(0.002)
    assert done[1] == 0, done
    assert step() == expected and mc.get_num_threads() == 2
print("20 forks")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_training_goes_on_in_twenty_forked_children_of_a_process_with_threads():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True,
        timeout=WATCHDOG,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "20 forks\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_fresh_process_may_use_several_threads(method, keep_threads):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    mc.set_num_threads(2)
    before, error, weights = report_of_child(method)
    assert before >= 1 and error is None and weights == step()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_uses_one_thread_and_says_why(keep_threads):
    mc.set_num_threads(2)
    step()  # so that there are threads which a fork loses
    before, error, weights = report_of_child("fork")
    assert before == 1 and weights == step()
    assert "num_threads is 2 in a forked process" in error and "'spawn'" in error
