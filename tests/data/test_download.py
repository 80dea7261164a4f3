"""Downloads, from a server in this process: whole and checked, or not at all."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from minicnn.data.download import NAMED, NamedSet, RemoteFile, cache_folder, fetch
from minicnn.data.errors import DataError

CONTENT = {"a.bin": bytes(range(256)) * 1000, "b.bin": b"small"}


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`; `server.fault` says how to go wrong."""

    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.content.get(self.path.rpartition("/")[2])
        fault = self.server.fault
        if content is None or fault == "refuse":
            self.send_error(503 if content else 404)
            return
        if fault == "flip":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        if fault != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "cut":
            content = content[: len(content) // 2]
        try:
            self.wfile.write(content)
            while fault == "endless":
                self.wfile.write(bytes(65536))
        except OSError:  # the client hung up, as it should
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    files = tuple(
        RemoteFile(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in CONTENT.items()
    )
    monkeypatch.setitem(NAMED, "mnist", NamedSet("https://example.invalid/x/", files, ("0",)))
    # No proxy of the environment may stand between the test and its server.
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.fault, server.requests = dict(CONTENT), None, []
        server.url = f"http://127.0.0.1:{server.server_port}/data"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def files_in(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def test_first_use_downloads_and_the_second_does_not(server, tmp_path):
    folder = fetch("mnist", cache=tmp_path, base_url=server.url)
    assert folder == str(tmp_path / "mnist")
    assert files_in(tmp_path / "mnist") == CONTENT
    assert server.requests == ["/data/a.bin", "/data/b.bin"]
    server.fault = "refuse"
    assert fetch("mnist", cache=tmp_path, base_url=server.url + "/") == folder
    assert len(server.requests) == 2


def test_progress_is_told_every_chunk(server, tmp_path):
    calls = []
    fetch("mnist", cache=tmp_path, base_url=server.url, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("b.bin", 5, 5)
    done = [done for name, done, total in calls if name == "a.bin"]
    assert done == sorted(set(done)) and done[-1] == 256_000 and len(done) > 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("flip", "a.bin: not the file that is expected: SHA-256 is .*, expected"),
        ("cut", "a.bin: the download (broke off|has 128000 bytes, expected 256000)"),
        ("refuse", "a.bin: cannot be downloaded: .*503"),
        ("endless", "a.bin: the download has more bytes, expected 256000"),
    ],
)
def test_faulty_server_leaves_nothing_and_says_how_to_do_without(server, tmp_path, fault, message):
    server.fault = fault
    with pytest.raises(DataError, match=message) as error:
        fetch("mnist", cache=tmp_path, base_url=server.url)
    assert files_in(tmp_path / "mnist") == {}
    by_hand = f"get a.bin, b.bin from https://example.invalid/x/ .* into {tmp_path / 'mnist'}"
    error.match(by_hand)
    server.fault = None
    fetch("mnist", cache=tmp_path, base_url=server.url)
    assert files_in(tmp_path / "mnist") == CONTENT


def test_interrupt_leaves_no_file(server, tmp_path):
    def interrupt(*call):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", cache=tmp_path, base_url=server.url, progress=interrupt)
    assert files_in(tmp_path / "mnist") == {}


@pytest.mark.parametrize("damage", [b"", CONTENT["a.bin"][:-1], bytes(256_000)])
def test_damaged_file_in_the_cache_is_replaced(server, tmp_path, damage):
    fetch("mnist", cache=tmp_path, base_url=server.url)
    (tmp_path / "mnist" / "a.bin").write_bytes(damage)
    fetch("mnist", cache=tmp_path, base_url=server.url)
    assert files_in(tmp_path / "mnist") == CONTENT
    assert server.requests == ["/data/a.bin", "/data/b.bin", "/data/a.bin"]


def test_files_put_there_by_hand_need_no_network(server, tmp_path):
    (tmp_path / "mnist").mkdir()
    for name, data in CONTENT.items():
        (tmp_path / "mnist" / name).write_bytes(data)
    assert fetch("mnist", cache=tmp_path, base_url=server.url) == str(tmp_path / "mnist")
    assert server.requests == []


def test_downloads_at_the_same_time_both_succeed(server, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(fetch, "mnist", cache=tmp_path, base_url=server.url) for _ in range(8)]
        assert {call.result() for call in calls} == {str(tmp_path / "mnist")}
    assert files_in(tmp_path / "mnist") == CONTENT


def test_no_network_is_a_data_error_with_the_manual_steps(server, tmp_path):
    server.server_close()  # nobody listens any more
    with pytest.raises(DataError, match=r"(?s)cannot be downloaded: .*To do without this download"):
        fetch("mnist", cache=tmp_path, base_url=server.url)
    assert files_in(tmp_path / "mnist") == {}


def test_full_disk_is_an_os_error_and_leaves_nothing(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch("mnist", cache=tmp_path, base_url=server.url)
    assert files_in(tmp_path / "mnist") == {}


def test_unknown_name_and_foreign_url_are_value_errors(tmp_path):
    with pytest.raises(
        ValueError, match="named 'imagenet'; known are mnist, fashion-mnist, cifar10"
    ):
        fetch("imagenet", cache=tmp_path)
    with pytest.raises(ValueError, match="base_url must start with https://"):
        fetch("mnist", cache=tmp_path, base_url="file:///etc")
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == str(tmp_path / "own")
    monkeypatch.delenv("MINICNN_CACHE")
    assert cache_folder() == str(tmp_path / "xdg" / "minicnn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == str(tmp_path / ".cache" / "minicnn")


def test_every_named_set_is_fetched_over_https_with_a_checksum():
    assert list(NAMED) == ["mnist", "fashion-mnist", "cifar10"]
    for source in NAMED.values():
        assert source.base_url.startswith("https://") and source.base_url.endswith("/")
        assert len(source.classes) == 10
        for file in source.files:
            assert len(bytes.fromhex(file.sha256)) == 32 and file.size > 1000
