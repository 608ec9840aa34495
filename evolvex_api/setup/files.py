"""Files in folders that others than root may write, read and replaced by root without a trap.

/etc/asterisk and Asterisk's sounds belong to the user asterisk, who can put a symbolic link in the
place of any file there, at any moment. So every folder is opened component by component, names are
used relative to its descriptor with O_NOFOLLOW, and a link is followed only where nobody but root
could have made it. See open(2), openat(2), symlink(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evolvex_api.setup import SetupError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel
_LARGEST = 16 << 20


@dataclass(frozen=True)
class Content:
    """What a file holds, and its owner, mode and identity (os.stat_result)."""

    data: bytes
    stat: os.stat_result


@contextlib.contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder, given by its absolute path.

    Raises SetupError when a symbolic link on the way could have been made by others than root, and
    OSError.
    """
    descriptor = _open_folder(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(path: Path) -> int:
    todo = deque(path.parts[1:])
    links = 0
    descriptor = os.open("/", _FOLDER)
    try:
        while todo:
            name = todo.popleft()
            try:
                inner = os.open(name, _FOLDER, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR} or links == _MOST_LINKS:
                    raise
                target = _trusted_target(descriptor, name, path)
                links += 1
                todo.extendleft(reversed([part for part in target.parts if part != "/"]))
                inner = os.open("/" if target.is_absolute() else ".", _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _trusted_target(folder: int, name: str, path: Path) -> Path:
    """Where a symbolic link leads that root alone could have made; SetupError for any other."""
    try:
        target = Path(os.readlink(name, dir_fd=folder))
    except OSError:
        raise SetupError(f"{path}: {name} is not a folder") from None
    if not _only_root_writes(folder):
        raise SetupError(
            f"{path}: {name} is a symbolic link that others than root could have made; "
            "setup does not follow it"
        )
    return target


def _only_root_writes(folder: int) -> bool:
    found = os.fstat(folder)
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & 0o022


def resolved(path: Path) -> Path:
    """The path with a link at its end followed, where root alone could have made that link.

    Raises SetupError for any other link.
    """
    for _ in range(_MOST_LINKS):
        try:
            with opened_folder(path.parent) as folder:
                if not stat.S_ISLNK(os.lstat(path.name, dir_fd=folder).st_mode):
                    return path
                target = _trusted_target(folder, path.name, path)
        except FileNotFoundError:
            return path
        path = Path(os.path.normpath(path.parent / target))
    raise SetupError(f"{path}: too many symbolic links")


def read(path: Path) -> Content | None:
    """A regular file's content, or None when there is no such file.

    A link at its end is not followed. Raises SetupError for what is not a regular file, OSError.
    """
    try:
        with opened_folder(path.parent) as folder:
            return _read(folder, path)
    except FileNotFoundError:
        return None


def _read(folder: int, path: Path) -> Content:
    try:
        descriptor = os.open(path.name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SetupError(
                f"{path}: is a symbolic link; setup does not write through it"
            ) from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise SetupError(f"{path}: is not a plain file of text")
        return Content(file.read(), found)


def peek(path: Path) -> str:
    """The text of a regular file that is only looked at, through any link; '' when there is none.

    FreePBX links many files of /etc/asterisk into its modules. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(_LARGEST).decode("utf-8", "surrogateescape")


class Replaced:
    """A name in a folder that now means something else; `take_back` or `keep` ends it.

    What had the name before keeps a second, hidden one beside it, so taking it back needs no room
    on the disk and restores the very same file.
    """

    def __init__(self, path: Path, folder: int, before: str | None) -> None:
        self._path = path
        self._folder = folder
        self._before = before

    def take_back(self) -> None:
        """Give the name back to what had it before. Raises OSError."""
        name = self._path.name
        if self._before is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
        else:
            os.rename(self._before, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.close(self._folder)

    def keep(self) -> None:
        """Drop what had the name before, a folder with all that is in it. Raises OSError."""
        if self._before is not None:
            if stat.S_ISDIR(os.lstat(self._before, dir_fd=self._folder).st_mode):
                shutil.rmtree(self._before, dir_fd=self._folder)
            else:
                os.unlink(self._before, dir_fd=self._folder)
        os.close(self._folder)


def replace(
    path: Path, data: bytes | None, like: Content | None, owner: tuple[int, int]
) -> Replaced:
    """Make `data` a file's content, atomically; None removes the file.

    `like` is what read() returned: its owner and mode stay. A new file gets `owner` (uid, gid) and
    the mode 0640. Raises SetupError when somebody else changed the file since, and OSError; then
    nothing has changed.
    """
    folder = _open_folder(path.parent)
    made: list[str] = []
    try:
        before = None
        if like is not None:
            before = _second_name(folder, path, like)
            made.append(before)
        if data is not None:
            new = _write_new(folder, path, data, like, owner)
            made.append(new)
            os.rename(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        elif like is not None:
            os.unlink(path.name, dir_fd=folder)
        os.fsync(folder)
    except BaseException:
        for name in made:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
        os.close(folder)
        raise
    return Replaced(path, folder, before)


def make_link(path: Path, target: str) -> Replaced:
    """Make a symbolic link where nothing is yet. Raises OSError."""
    folder = _open_folder(path.parent)
    try:
        os.symlink(target, path.name, dir_fd=folder)
    except BaseException:
        os.close(folder)
        raise
    return Replaced(path, folder, None)


def set_aside(path: Path) -> Replaced:
    """Take a name away from whatever has it, of whatever kind. Raises OSError."""
    folder = _open_folder(path.parent)
    try:
        before = _hidden(path)
        os.rename(path.name, before, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.close(folder)
        raise
    return Replaced(path, folder, before)


def link_target(path: Path) -> str | None:
    """Where a symbolic link leads; None when the path is none. Raises SetupError, OSError."""
    try:
        with opened_folder(path.parent) as folder:
            return os.readlink(path.name, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINVAL}:
            return None
        raise


def exists(path: Path) -> bool:
    """Whether a name is there, whatever it means. Raises SetupError, OSError."""
    try:
        with opened_folder(path.parent) as folder:
            os.lstat(path.name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _hidden(path: Path) -> str:
    # No include pattern (`*.conf`, `*`) of Asterisk, nginx or Apache matches it.
    return f".{path.name}.evolvex-{secrets.token_hex(6)}"


def _second_name(folder: int, path: Path, like: Content) -> str:
    name = _hidden(path)
    os.link(path.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    found = os.lstat(name, dir_fd=folder)
    if _looks(found) != _looks(like.stat):
        os.unlink(name, dir_fd=folder)
        raise SetupError(f"{path}: was changed by somebody else meanwhile; run setup again")
    return name


def _looks(found: os.stat_result) -> tuple[int, ...]:
    # Not the inode: an overlay file system gives a file another one when it is first changed.
    return found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns


def _write_new(
    folder: int, path: Path, data: bytes, like: Content | None, owner: tuple[int, int]
) -> str:
    name = _hidden(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            uid, gid = (like.stat.st_uid, like.stat.st_gid) if like else owner
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, stat.S_IMODE(like.stat.st_mode) if like else 0o640)
            os.fsync(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    return name
