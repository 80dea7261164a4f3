"""Checkpoints read back equal, and no damaged or hostile file does more than raise an error."""

import base64
import json
import os
import pickle
import random
import stat
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from minicnn import checkpoint
from minicnn.checkpoint import CheckpointError, check_entries, durable, files
from minicnn.checkpoint.header import MAX_HEADER_BYTES

TENSORS = {
    "0.weight": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "1.num_batches_tracked": np.array(7, np.int64),
    "state.mask": np.array([1, 0, 255], np.uint8),
    "empty": np.zeros((0, 4), np.float32),
}
METADATA = {"classes": ["dog", "犬"], "epoch": 3, "lr": 0.1, "best": None, "nested": {"on": True}}


def save(path, tensors=TENSORS, metadata=METADATA):
    checkpoint.write(path, tensors, metadata)
    return path.read_bytes()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype, name
        assert found[name].tobytes() == array.tobytes(), name


def file_of(header, data=b"", padding=b""):
    """A file with the given header: an object, or the bytes of one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += padding
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


# --- what is written reads back -----------------------------------------------------------------


def test_read_written_checkpoint_gives_equal_tensors_and_metadata(tmp_path):
    save(tmp_path / "a")
    tensors, metadata = checkpoint.read(tmp_path / "a")
    assert_same(tensors, TENSORS)
    assert metadata == METADATA
    assert all(a.flags.writeable and a.dtype.isnative for a in tensors.values())


def test_write_transposed_and_big_endian_arrays_reads_back_equal_values(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    save(tmp_path / "a", {"w": array, "n": np.array(5, ">i8")})
    tensors, _ = checkpoint.read(tmp_path / "a")
    np.testing.assert_array_equal(tensors["w"], array)
    assert tensors["n"] == 5 and tensors["n"].shape == ()


def test_write_no_tensors_and_no_metadata_reads_back_empty(tmp_path):
    save(tmp_path / "a", {}, {})
    assert checkpoint.read(tmp_path / "a") == ({}, {})


def test_write_same_content_in_another_order_gives_the_same_bytes(tmp_path):
    first = save(tmp_path / "a")
    second = save(tmp_path / "b", dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))
    assert first == second


def test_read_tuples_and_float64_scalars_come_back_as_lists_and_floats(tmp_path):
    save(tmp_path / "a", {}, {"betas": (0.9, np.float64(0.999))})
    assert checkpoint.read(tmp_path / "a")[1] == {"betas": [0.9, 0.999]}


# Written by format version 1; must be readable for as long as that version is.
VERSION_1 = (
    "GAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJtaW5pY25uIjoie1wibWV0YWRhdGFcIjp7XCJjbGFzc2VzXCI6W1wiZG"
    "9nXCJdfSxcIm1pbmljbm5fZm9ybWF0XCI6MSxcInNoYTI1NlwiOlwiMTQ4MTFmNzA3Njg0MDZkNzBhMWRlN2M4NWE4"
    "OGY5YTM5ODIzYmFiMjJhOGY2NDUxZWEzYmQ3ZGJkZDM3OGQ3ZFwifSJ9LCJuIjp7ImR0eXBlIjoiSTY0Iiwic2hhcG"
    "UiOltdLCJkYXRhX29mZnNldHMiOlswLDhdfSwidyI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMl0sImRhdGFfb2Zm"
    "c2V0cyI6WzgsMTZdfX0gICAgAwAAAAAAAAAAAMA/AAAAwA=="
)


def test_read_file_of_format_version_1_stays_readable(tmp_path):
    (tmp_path / "a").write_bytes(base64.b64decode(VERSION_1))
    tensors, metadata = checkpoint.read(tmp_path / "a")
    assert_same(tensors, {"w": np.array([1.5, -2.0], np.float32), "n": np.array(3, np.int64)})
    assert metadata == {"classes": ["dog"]}


def test_write_can_be_read_by_the_safetensors_library(tmp_path):
    save(tmp_path / "a")
    assert_same(safetensors.numpy.load_file(tmp_path / "a"), TENSORS)


def test_read_file_of_another_program_has_no_metadata(tmp_path):
    tensors = dict(TENSORS, half=np.ones(3, np.float16), double=np.ones((2, 2)))
    safetensors.numpy.save_file(tensors, tmp_path / "a", metadata={"format": "pt"})
    found, metadata = checkpoint.read(tmp_path / "a")
    assert_same(found, tensors)
    assert metadata is None


# --- what cannot be written ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "error", "match"),
    [
        ({"a": {"b": [0.0, float("nan")]}}, ValueError, r"metadata\['a'\]\['b'\]\[1\] is nan"),
        ({"a": float("inf")}, ValueError, r"metadata\['a'\] is inf"),
        ({"a": {1: 2}}, TypeError, r"metadata\['a'\] is a dict"),
        ({"a": np.float32(1)}, TypeError, r"metadata\['a'\] is a float32"),
        ({"a": {1, 2}}, TypeError, r"metadata\['a'\] is a set"),
    ],
)
def test_write_metadata_outside_json_is_refused_with_its_place(tmp_path, metadata, error, match):
    old = save(tmp_path / "a")
    with pytest.raises(error, match=match):
        checkpoint.write(tmp_path / "a", TENSORS, metadata)
    assert (tmp_path / "a").read_bytes() == old


@pytest.mark.parametrize("array", [np.ones(2), np.ones(2, bool), np.array(["a"]), [1.0, 2.0]])
def test_write_other_dtype_is_refused_with_the_name(tmp_path, array):
    with pytest.raises(TypeError, match="tensor 'w' is .*expected a NumPy array of float32"):
        checkpoint.write(tmp_path / "a", {"w": array}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "__metadata__", "a\nb", "\x1b[2J", "\ud800", "n" * 257])
def test_write_unusable_tensor_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="tensor name"):
        checkpoint.write(tmp_path / "a", {name: np.ones(1, np.float32)}, {})
    assert os.listdir(tmp_path) == []


def test_write_header_that_could_not_be_read_again_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 4,194,304 are allowed"):
        checkpoint.write(tmp_path / "a", {}, {"long": "x" * MAX_HEADER_BYTES})
    assert os.listdir(tmp_path) == []


def test_write_interrupted_before_the_rename_leaves_the_previous_one_loadable(
    tmp_path, monkeypatch
):
    save(tmp_path / "last")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(durable.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path / "last", {}, {"epoch": 4})
    assert checkpoint.read(tmp_path / "last")[1] == METADATA
    assert os.listdir(tmp_path) == ["last"]


# --- what cannot be read ------------------------------------------------------------------------

HUGE = 1 << 60
HOSTILE = {
    "empty file": (b"", "only 0 bytes"),
    "seven bytes": (b"1234567", "only 7 bytes"),
    "pickle": (pickle.dumps([1] * 99), "header length"),
    "header longer than the file": ((100).to_bytes(8, "little") + b"{}", "needs 108"),
    "header too long": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "at most 4,194,304"),
    "header length 2**64 - 1": (b"\xff" * 8 + b"{}", "at most 4,194,304"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "header is not valid"),
    "not JSON": (file_of(b"{not json}"), "header is not valid"),
    "list": (file_of(b"[]"), "must be a JSON object"),
    "blank before": (file_of(b" {}"), "must be a JSON object"),
    "nested too deeply": (file_of(b'{"a":' + b"[" * 100_000), "header is not valid"),
    "huge integer": (file_of(b'{"a":' + b"9" * 5000 + b"}"), "header is not valid"),
    "NaN": (file_of(b'{"a": NaN}'), "NaN is not allowed"),
    "key twice": (file_of(b'{"a": 1, "a": 1}'), "a key occurs twice"),
    "metadata is a list": (file_of({"__metadata__": []}), "must map strings to strings"),
    "metadata holds a number": (file_of({"__metadata__": {"a": 1}}), "must map strings"),
    "entry is a number": (file_of({"a": 1}), "exactly the fields"),
    "field missing": (file_of({"a": {"dtype": "F32", "shape": [0]}}), "exactly the fields"),
    "field too many": (file_of({"a": dict(tensor(), x=1)}, bytes(8)), "exactly the fields"),
    "bfloat16": (file_of({"a": tensor("BF16", (4,))}, bytes(8)), "has dtype 'BF16'.*convert it"),
    "dtype is a list": (file_of({"a": tensor(["F32"])}, bytes(8)), "has dtype"),
    "shape negative": (file_of({"a": tensor(shape=(-2,))}, bytes(8)), "shape of at most"),
    "shape fractional": (file_of({"a": tensor(shape=(2.0,))}, bytes(8)), "shape of at most"),
    "shape true": (file_of({"a": tensor(shape=(2, True))}, bytes(8)), "shape of at most"),
    "too many axes": (file_of({"a": tensor(shape=(1,) * 8 + (2,))}, bytes(8)), "shape of at most"),
    "shape larger than data": (file_of({"a": tensor(shape=(3,))}, bytes(8)), "needs 12 bytes"),
    "product wraps to 8 bytes": (
        file_of({"a": tensor(shape=(1 << 31, 1 << 31, 4, 1))}, bytes(8)), "too large"),
    "empty with huge axes": (file_of({"a": tensor(shape=(0, HUGE, HUGE), end=0)}), "too large"),
    "shape 2**60": (file_of({"a": tensor(shape=(HUGE // 4,), end=HUGE)}, bytes(8)), "inside the 8"),
    "end before begin": (file_of({"a": tensor(begin=8, end=0)}, bytes(8)), "inside the 8 bytes"),
    "negative begin": (file_of({"a": tensor(begin=-8, end=0)}, bytes(8)), "inside the 8 bytes"),
    "one offset": (file_of({"a": dict(tensor(), data_offsets=[8])}, bytes(8)), "inside the 8"),
    "data cut off": (file_of({"a": tensor()}, bytes(7)), "inside the 7 bytes"),
    "data appended": (file_of({"a": tensor()}, bytes(9)), "bytes were appended"),
    "overlap": (
        file_of({"a": tensor(), "b": tensor(begin=4, end=12)}, bytes(12)), "neither overlap"),
    "shared": (file_of({"a": tensor(), "b": tensor()}, bytes(8)), "neither overlap"),
    "gap": (file_of({"a": tensor(), "b": tensor(begin=9, end=17)}, bytes(17)), "leave gaps"),
    "name with escape codes": (file_of({"\x1b[2J": tensor()}, bytes(8)), "tensor name"),
    "own metadata is not JSON": (file_of({"__metadata__": {"minicnn": "x"}}), "not valid"),
    "own metadata is a list": (file_of({"__metadata__": {"minicnn": "[]"}}), "must be a JSON"),
    "own metadata is empty": (file_of({"__metadata__": {"minicnn": "{}"}}), "minicnn_format is"),
    "own metadata incomplete": (
        file_of({"__metadata__": {"minicnn": '{"minicnn_format":1}'}}), "is incomplete"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_read_hostile_file_is_an_error_with_path_and_reason_and_no_allocation(tmp_path, case):
    content, reason = HOSTILE[case]
    path = tmp_path / "hostile"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=f"hostile: .*{reason}"):
            checkpoint.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a MiB for messages, tracebacks, the decoded header, and the depth that recursion may reach
    assert peak < len(content) + (1 << 20)


def test_read_newer_format_version_says_to_use_the_newer_program(tmp_path):
    content = {"minicnn_format": 2, "anything": "else"}
    (tmp_path / "a").write_bytes(file_of({"__metadata__": {"minicnn": json.dumps(content)}}))
    with pytest.raises(CheckpointError, match="format version 2.*reads up to 1.*newer minicnn"):
        checkpoint.read(tmp_path / "a")


def test_read_digest_of_other_content_is_refused(tmp_path):
    content = save(tmp_path / "a")
    (tmp_path / "a").write_bytes(content.replace(b'epoch\\":3', b'epoch\\":4'))
    with pytest.raises(CheckpointError, match="does not match its digest"):
        checkpoint.read(tmp_path / "a")


@pytest.mark.parametrize("field", [b"minicnn_format", b"sha256", b"metadata"])
def test_read_entry_that_lost_its_name_and_a_field_is_refused(tmp_path, field):
    content = save(tmp_path / "a")
    damaged = content.replace(b'{"minicnn":', b'{"minicn_":')
    damaged = damaged.replace(b'\\"' + field, b'\\"_' + field[1:])
    assert len(damaged) == len(content)
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(CheckpointError, match="lost the key 'minicnn'"):
        checkpoint.read(tmp_path / "a")


def test_read_folder_and_missing_file_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="not a file"):
        checkpoint.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "absent")


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_read_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a file"):
        checkpoint.read(tmp_path / "pipe")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_read_file_that_shrinks_meanwhile_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save(path, {"w": np.ones(100_000, np.float32)})
    parse = files.parse_header

    def parse_then_shrink(*args):
        os.truncate(path, 200_000)
        return parse(*args)

    monkeypatch.setattr(files, "parse_header", parse_then_shrink)
    with pytest.raises(CheckpointError, match="ended inside tensor 'w'"):
        checkpoint.read(path)


def test_read_failing_disk_names_the_path(tmp_path, monkeypatch):
    save(tmp_path / "a")

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "_read_stream", fail)
    with pytest.raises(OSError) as caught:
        checkpoint.read(tmp_path / "a")
    assert caught.value.filename == str(tmp_path / "a")


def test_read_takes_no_more_memory_than_the_file(tmp_path):
    size = len(save(tmp_path / "a", {"w": np.ones(1 << 21, np.float32)}))
    tracemalloc.start()
    try:
        checkpoint.read(tmp_path / "a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size + (1 << 18)  # the header and a read buffer besides the arrays


@pytest.mark.parametrize("dense", [b"{},", b"[0],", b'{"":{}},', b"999,"])
def test_read_header_of_many_small_values_takes_bounded_memory(tmp_path, dense):
    text = b'{"a":[' + dense * ((1 << 18) // len(dense)) + b"0]}"
    (tmp_path / "a").write_bytes(file_of(text))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="exactly the fields"):
            checkpoint.read(tmp_path / "a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(text)


# --- damage -------------------------------------------------------------------------------------


def outcome(path, content):
    """What reading `content` gives: None for the one permitted error."""
    path.unlink(missing_ok=True)  # some file systems force a truncated and rewritten file to disk
    path.write_bytes(content)
    try:
        return checkpoint.read(path)
    except CheckpointError:
        return None


def is_original(result):
    tensors, metadata = result
    assert_same(tensors, TENSORS)
    return metadata == METADATA


def mutations(content, count, seed):
    """`content` with bytes changed, cut out, doubled or moved, at random but repeatably."""
    draw = random.Random(seed)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 4))):
            at, length = draw.randrange(len(changed) + 1), draw.choice((1, 1, 1, 2, 8, 40))
            kind = draw.randrange(4)
            if kind == 0:
                changed[at : at + length] = draw.randbytes(length)
            elif kind == 1:
                del changed[at : at + length]
            elif kind == 2:
                changed[at:at] = changed[at : at + length]
            else:
                changed[at : at + 1] = draw.choice((b"0", b"9", b"-", b'"', b"{", b"]", b",", b"e"))
        yield bytes(changed)


def test_read_every_prefix_is_refused(tmp_path):
    content = save(tmp_path / "a")
    for length in range(len(content)):
        assert outcome(tmp_path / "b", content[:length]) is None, length


def test_read_every_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    content = save(tmp_path / "a")
    harmless = 0
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        result = outcome(tmp_path / "b", damaged)
        if result is not None:
            assert is_original(result), bit
            harmless += 1
    # a digit of an escaped character may change its case; nearly everything must be noticed
    assert harmless <= 8


def test_read_ten_thousand_mutations_are_refused_or_change_nothing(tmp_path):
    content = save(tmp_path / "a")
    refused = 0
    for damaged in mutations(content, 10_000, seed=1):
        result = outcome(tmp_path / "b", damaged)
        refused += result is None
        assert result is None or is_original(result), damaged
    assert refused > 9_000


def test_read_mutated_file_of_another_program_agrees_with_the_library(tmp_path):
    safetensors.numpy.save_file(TENSORS, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    accepted = 0
    for damaged in mutations(content, 5_000, seed=2):
        result = outcome(tmp_path / "b", damaged)
        if result is not None:
            accepted += 1
            assert_same(result[0], safetensors.numpy.load(damaged))
    assert accepted > 100


# --- strict loading -----------------------------------------------------------------------------


def test_check_entries_equal_entries_pass_whatever_the_order():
    check_entries(dict(reversed(TENSORS.items())), TENSORS, "state_dict")


def test_check_entries_wider_floats_and_narrower_integers_pass():
    found = {"w": np.ones(2), "n": np.array(1, np.int32)}
    check_entries(found, {"w": np.ones(2, np.float32), "n": np.array(1, np.int64)}, "state_dict")


def test_check_entries_every_difference_is_listed_at_once():
    one = np.float32(1)
    found = {"a": np.ones((2, 3), one.dtype), "b": np.ones(4), "extra": one, "same": one}
    expected = {"a": np.ones((3, 2), one.dtype), "b": np.ones(4, int), "lost": one, "same": one}
    with pytest.raises(CheckpointError) as caught:
        check_entries(found, expected, "run/model.safetensors")
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("run/model.safetensors: 4 of its entries do not fit the model")
    assert [line.strip() for line in lines] == [
        "mismatch a: got float32 (2, 3), expected float32 (3, 2)",
        "mismatch b: got float64 (4,), expected int64 (4,)",
        "missing lost: float32 ()",
        "unexpected extra: float32 ()",
    ]
