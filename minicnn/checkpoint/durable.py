"""Files that are replaced whole or not at all, and that survive a loss of power.

The order of steps is the promise: all bytes go into a new file in the same folder, are forced to
the disk and read back; only then does that file take the name of the old one, and the folder is
forced to the disk as well. A reader, or a machine that comes back after a crash, finds the old
file or the new one, never a part of either.
"""

import contextlib
import errno
import json
import os
import stat
import time
import zlib
from collections.abc import Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where the system protects a file that is being written
    fcntl = None  # type: ignore[assignment]

_CHUNK = 1 << 20
_LONG = 3600.0  # seconds; from making a file to locking it takes microseconds
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_SYNC_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the file at `path` by `data`, durably and in one step, or leave it as it was.

    A link is followed: the file it points to is replaced. A replaced file keeps its permissions,
    a new one gets what the umask leaves. A process that is killed inside the call can leave a
    `.minicnn-*.tmp` file beside the old one, which the next call with the same path removes;
    every other failure removes it at once.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    data
        The whole content.

    Raises
    ------
    OSError
        With `path` as its filename; `is_disk_full` recognises a lack of space. The old file is
        untouched, except when forcing the folder to the disk fails: then the new file is in
        place and whole, but may not survive a loss of power.
    """
    target = os.path.realpath(path)
    prefix = _temporary_prefix(target)
    temporary = f"{prefix}{os.urandom(8).hex()}.tmp"
    try:
        mode = _permissions(target)
        with _opened_folder(os.path.dirname(target)) as folder, contextlib.ExitStack() as locks:
            _sweep(prefix)
            try:
                _write_new(temporary, data, mode, locks)
                _check_content(temporary, data)
                os.replace(temporary, target)
            except BaseException:  # Ctrl-C as well: nothing may stay behind
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            _sync_folder(folder)
    except OSError as error:
        # Calls on descriptors know no name, and the temporary one would mean nothing to a reader.
        error.filename, error.filename2 = os.fspath(path), None
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replace the file at `path` by `value` as indented JSON in UTF-8, as `write_bytes` does.

    Raises
    ------
    TypeError, ValueError
        `value` is not plain JSON data, or holds NaN or an infinity, which JSON does not have.
    OSError
        As `write_bytes`.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A file name that is not UTF-8 reaches Python as lone surrogates, which cannot be encoded;
    # their backslash form is exactly the escape that JSON defines.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def is_disk_full(error: OSError) -> bool:
    """Whether `error` says that the disk, or the user's share of it, has no room left."""
    return error.errno in _NO_SPACE


def _temporary_prefix(target: str) -> str:
    """How the paths of the temporary files of `target` begin: a folder holds many targets."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".minicnn-{zlib.crc32(os.fsencode(name)):08x}-")


def _sweep(prefix: str) -> None:
    """Remove what processes that were killed inside a save of this target have left.

    A process that is alive holds a lock on its temporary file from before the first byte until
    the rename, and the system takes the lock from a process that dies. So a file that holds
    bytes and that nobody has locked is a dead one's. Neither age nor the number of a process
    would tell as much: clocks differ between machines, and numbers between containers. Where
    there are no locks nothing is removed.
    """
    if fcntl is None:
        return
    folder, start = os.path.split(prefix)
    with contextlib.suppress(OSError):  # no reason not to save
        for name in os.listdir(folder):
            if name.startswith(start) and name.endswith(".tmp"):
                _remove_if_left(os.path.join(folder, name))


def _remove_if_left(path: str) -> None:
    """Unlink a temporary file whose writer is dead."""
    with contextlib.suppress(OSError):  # it may have got its name, or be another user's
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(file.fileno())
            # An empty one that was just made may be about to be locked.
            if status.st_size or time.time() - status.st_mtime > _LONG:
                os.unlink(path)


def _lock(descriptor: int, locks: contextlib.ExitStack) -> None:
    """Mark an open file as being written, until `locks` is closed."""
    if fcntl is None:
        return
    # A copy of the descriptor keeps the lock when the file itself is closed.
    keeper = os.dup(descriptor)
    locks.callback(os.close, keeper)
    with contextlib.suppress(OSError):  # file systems without locks are not swept either
        fcntl.flock(keeper, fcntl.LOCK_EX)


def _permissions(target: str) -> int | None:
    """The permission bits of the file to be replaced, None when there is none yet."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(mode):  # replacing /dev/null would break the machine
        raise OSError(errno.EINVAL, "Not a regular file; write to an ordinary file name", target)
    if not os.access(target, os.W_OK):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    return stat.S_IMODE(mode) & 0o777


def _write_new(path: str, data: bytes, mode: int | None, locks: contextlib.ExitStack) -> None:
    """Create `path`, lock it, write all of `data` and force it to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # The umask takes its part from the mode given here, so a new file asks for everything.
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    try:
        _lock(descriptor, locks)
        if mode is not None and stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.chmod(path, mode)
        rest = memoryview(data)
        while rest:
            # The system may take a part only; with nothing taken, another try would not end.
            written = os.write(descriptor, rest)
            if written == 0:
                raise OSError(errno.EIO, "The system accepted none of the bytes")
            rest = rest[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # on network disks this is where a failed write may be reported


def _check_content(path: str, data: bytes) -> None:
    """Read `path` back and compare it with `data`, from the disk where the system allows that."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        if hasattr(os, "posix_fadvise"):  # drop the pages, which are clean after the fsync
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        position = 0
        while chunk := os.read(descriptor, _CHUNK):
            if chunk != data[position : position + len(chunk)]:
                break
            position += len(chunk)
    finally:
        os.close(descriptor)
    if chunk or position != len(data):
        raise OSError(errno.EIO, f"Read back other bytes than were written, from byte {position}")


@contextlib.contextmanager
def _opened_folder(path: str) -> Iterator[int | None]:
    """A descriptor of the folder, opened before any write so that a refusal changes nothing."""
    if os.name == "nt":  # Windows opens no folders; its file systems journal a rename themselves
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(descriptor: int | None) -> None:
    """Force the names in a folder to the disk, so that the replacement itself is durable."""
    if descriptor is None:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no such operation and say so; any other failure is a real one.
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
