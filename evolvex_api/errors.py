"""ApiError and the only error handlers: every failure leaves as problem+json (RFC 9457)."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from evolvex_api.backends import failures

log = logging.getLogger(__name__)

# After this many seconds a client may well try again (RFC 9110, Retry-After).
_RETRY_AFTER = 5

_BACKEND_FAILURES: dict[type[failures.BackendFailure], tuple[int, str]] = {
    failures.PbxUnavailable: (503, "pbx_unavailable"),
    failures.PbxRejected: (422, "rejected_by_pbx"),
    failures.OutcomeUnknown: (502, "outcome_unknown"),
    failures.CdrUnavailable: (503, "cdr_unavailable"),
    failures.StorageUnavailable: (503, "storage_unavailable"),
    failures.RecordingNotFound: (404, "recording_not_found"),
    failures.RecordingEmpty: (404, "recording_empty"),
    failures.UnsupportedAudio: (415, "unsupported_audio"),
    failures.FileTooLarge: (413, "file_too_large"),
}

_HTTP_CODES = {
    400: "bad_request",
    404: "unknown_method",
    405: "method_not_allowed",
    413: "file_too_large",
    416: "range_not_satisfiable",
    500: "internal_error",
}


class ApiError(Exception):
    """A request that can't be answered: a status, a stable code and a sentence for a person.

    `parameter` names the request's parameter at fault; `extra` adds members to the problem.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        parameter: str | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.extra = extra or {}


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """A parameter whose value is not what it must be."""
    return ApiError(400, "invalid_parameter", detail, parameter=parameter)


def register(app: Flask) -> None:
    """Give the application its error handlers."""
    app.register_error_handler(ApiError, problem)
    app.register_error_handler(failures.BackendFailure, _backend_failure)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def problem(error: ApiError) -> Response:
    """The problem+json answer of an ApiError."""
    body: dict[str, str | int] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.parameter:
        body["parameter"] = error.parameter
    response = Response(
        json.dumps(body | error.extra, ensure_ascii=False),
        status=error.status,
        content_type="application/problem+json; charset=utf-8",
    )
    response.headers["Cache-Control"] = "no-store"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="evolvex-api"'
    if error.status == 503:
        response.headers["Retry-After"] = str(_RETRY_AFTER)
    return response


def _backend_failure(error: failures.BackendFailure) -> Response:
    status, code = _BACKEND_FAILURES[type(error)]
    extra = {"Uniqueid": error.uniqueid} if isinstance(error, failures.OutcomeUnknown) else None
    if status >= 500:
        log.warning("%s: %s%s", code, error, f" ({error.__cause__})" if error.__cause__ else "")
    return problem(ApiError(status, code, str(error), extra=extra))


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if error.response is not None or status < 400:
        return Response(error.get_response().get_data(), status, error.get_headers())
    response = problem(
        ApiError(status, _HTTP_CODES.get(status, "http_error"), error.description or "")
    )
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected failure", exc_info=error)
    return problem(
        ApiError(500, "internal_error", "The service failed; its journal has the details.")
    )
