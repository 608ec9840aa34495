"""Locks of an open file description (fcntl(2), F_OFD_SETLK) on single bytes of a file.

Unlike flock(2) a file has many of them, shared or exclusive. The kernel releases a lock when the
last descriptor of its opening is closed, so also when its holder dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


def share(descriptor: int, byte: int = 0) -> bool:
    """Take a shared lock on a byte; False when another opening has an exclusive one."""
    return _set(descriptor, fcntl.F_RDLCK, byte)


def exclude(descriptor: int, byte: int = 0) -> bool:
    """Take an exclusive lock on a byte; False when another opening has any.

    The descriptor must be open for writing.
    """
    return _set(descriptor, fcntl.F_WRLCK, byte)


def is_shared(descriptor: int, byte: int = 0) -> bool:
    """True when another opening of the file has a lock on a byte."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def reopened(descriptor: int) -> int:
    """The same file opened anew, to read and write: a lock belongs to an opening."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


def _set(descriptor: int, kind: int, byte: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
