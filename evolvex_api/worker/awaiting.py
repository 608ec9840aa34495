"""How an application under the worker waits for a body without holding a thread."""

from __future__ import annotations

from typing import Any, NoReturn

# In the WSGI environ while the body has not arrived whole; wsgi.input then has what is there.
ENVIRON_KEY = "evolvex_api.await_body"


class AwaitBody(BaseException):
    """Ask the worker to collect up to `size` bytes of the body and to call the application again.

    The call that raises it must not have begun its answer, and must have changed nothing.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def raise_await(size: int) -> NoReturn:
    """What stands in the environ under ENVIRON_KEY."""
    raise AwaitBody(size)


def await_body(environ: dict[str, Any], size: int) -> None:
    """Return when wsgi.input has the whole body, or at least `size` bytes of it.

    Otherwise raises AwaitBody: the application is called again when that is so. Under another WSGI
    server than the worker wsgi.input blocks instead, and this returns at once.
    """
    if ENVIRON_KEY in environ:
        raise_await(size)


def is_partial(environ: dict[str, Any]) -> bool:
    """True when wsgi.input has only a part of the body so far."""
    return ENVIRON_KEY in environ
