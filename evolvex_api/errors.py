"""The only error handlers: every failure leaves as problem+json (RFC 9457)."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from evolvex_api import journal
from evolvex_api.backends import failures
from evolvex_api.core.refusals import ApiError, Code
from evolvex_api.encoding import not_utf8

log = logging.getLogger(__name__)

# After this many seconds a client may well try again (RFC 9110, Retry-After).
_RETRY_AFTER = 5

BACKEND_FAILURES: dict[type[failures.BackendFailure], tuple[int, Code]] = {
    failures.PbxUnavailable: (503, "pbx_unavailable"),
    failures.PbxRejected: (422, "rejected_by_pbx"),
    failures.OutcomeUnknown: (502, "outcome_unknown"),
    failures.CdrUnavailable: (503, "cdr_unavailable"),
    failures.StorageUnavailable: (503, "storage_unavailable"),
    failures.RecordingNotFound: (404, "recording_not_found"),
    failures.RecordingEmpty: (404, "recording_empty"),
    failures.UnsupportedAudio: (415, "unsupported_audio"),
    failures.FileTooLarge: (413, "file_too_large"),
    failures.UploadNotFound: (404, "upload_not_found"),
}

HTTP_CODES: dict[int, Code] = {
    400: "bad_request",
    404: "unknown_method",
    405: "method_not_allowed",
    413: "body_too_large",
    416: "range_not_satisfiable",
    500: "internal_error",
}


def register(app: Flask) -> None:
    """Give the application its error handlers."""
    app.register_error_handler(ApiError, problem)
    app.register_error_handler(failures.BackendFailure, _backend_failure)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFound, _unknown_method)
    app.register_error_handler(MethodNotAllowed, _wrong_verb)
    app.register_error_handler(Exception, _unexpected)


def problem(error: ApiError) -> Response:
    """The problem+json answer of an ApiError, whose code the journal's line gets."""
    journal.refused(error.code)
    body: dict[str, object] = {
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
    retry_after = error.retry_after or (_RETRY_AFTER if error.status == 503 else None)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _backend_failure(error: failures.BackendFailure) -> Response:
    # The nearest class of the failure's hierarchy: a subclass is answered as its parent is.
    status, code = next(
        BACKEND_FAILURES[kind] for kind in type(error).__mro__ if kind in BACKEND_FAILURES
    )
    extra = {"Uniqueid": error.uniqueid} if isinstance(error, failures.OutcomeUnknown) else None
    if status >= 500:
        log.warning("%s: %s%s", code, error, f" ({error.__cause__})" if error.__cause__ else "")
    return problem(ApiError(status, code, str(error), extra=extra))


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if error.response is not None or status < 400:
        return Response(error.get_response().get_data(), status, error.get_headers())
    response = problem(
        ApiError(status, HTTP_CODES.get(status, "http_error"), error.description or "")
    )
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _unknown_method(error: NotFound) -> Response:
    """404 for a path that is no method: the answer names the methods."""
    del error  # its text is for people with a browser
    raw = str(request.environ.get("PATH_INFO", "")).encode("latin-1")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return problem(not_utf8("The path"))
    rules = (rule.rule for rule in current_app.url_map.iter_rules())
    prefixes, methods = set(), set()
    for rule in rules:
        prefix, _, method = rule.rpartition("/")
        if method and "<" not in rule:
            prefixes.add(prefix)
            methods.add(method)
    where = min(prefixes, key=len, default="")
    return problem(
        ApiError(
            404,
            "unknown_method",
            f"There is no such method. The methods are {where}/… followed by one of:"
            f" {', '.join(sorted(methods))}.",
        )
    )


def _wrong_verb(error: MethodNotAllowed) -> Response:
    """405: the answer names the HTTP methods that work, in words and in Allow."""
    allowed = sorted(error.valid_methods or ())
    method = request.path.rpartition("/")[2]
    usual = [verb for verb in allowed if verb not in ("HEAD", "OPTIONS")]
    response = problem(
        ApiError(405, "method_not_allowed", f"{method} is requested by {' or '.join(usual)}.")
    )
    response.headers["Allow"] = ", ".join(allowed)
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected failure", exc_info=error)
    return problem(
        ApiError(500, "internal_error", "The service failed; its journal has the details.")
    )
