"""What can go wrong outside this service, in the words of the backends.

Every backend turns its library's exceptions into these, once, where they arise; `errors.py`
maps each to a status and a code. Messages are for clients: no path, no SQL, no secret.
"""

from __future__ import annotations


class BackendFailure(Exception):
    """Base of all failures of the outside world; its text may be shown to a client."""


class PbxUnavailable(BackendFailure):
    """AMI does not answer, refuses the login or broke off, and nothing was changed by it."""


class PbxRejected(BackendFailure):
    """Asterisk refused the action; the text is AMI's own message."""


class OutcomeUnknown(BackendFailure):
    """The connection was lost after an Originate was sent: the call may or may not exist."""

    def __init__(self, message: str, uniqueid: str) -> None:
        super().__init__(message)
        self.uniqueid = uniqueid


class CdrUnavailable(BackendFailure):
    """The database does not answer, refuses the login, or lacks the table."""


class StorageUnavailable(BackendFailure):
    """A folder is missing, not readable or writable, or the disk is full."""


class RecordingNotFound(BackendFailure):
    """No recording lies where one could be, or none that the caller may hear."""


class RecordingEmpty(RecordingNotFound):
    """The recording's file is there and holds no audio."""


class UnsupportedAudio(BackendFailure):
    """Not audio, or audio that the decoder does not know."""


class FileTooLarge(BackendFailure):
    """An upload over the configured size."""


class UploadNotFound(BackendFailure):
    """No uploaded sound of that uuid, or none of the group's."""
