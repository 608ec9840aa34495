"""ApiError: why a request is refused, as a status, a stable code and a sentence; and all codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

# Clients compare these words, so none may ever change its meaning; openapi.yaml lists them too.
Code = Literal[
    "account_denied",
    "address_denied",
    "bad_request",
    "body_too_large",
    "call_not_found",
    "callerid_denied",
    "cdr_unavailable",
    "channel_denied",
    "context_denied",
    "file_too_large",
    "headers_too_large",
    "http_error",
    "internal_error",
    "invalid_encoding",
    "invalid_parameter",
    "link_expired",
    "link_invalid",
    "method_not_allowed",
    "missing_key",
    "missing_parameter",
    "number_denied",
    "outcome_unknown",
    "outside_hours",
    "pbx_unavailable",
    "precondition_failed",
    "quota_exceeded",
    "range_not_satisfiable",
    "recording_empty",
    "recording_not_found",
    "rejected_by_pbx",
    "request_timeout",
    "right_denied",
    "storage_unavailable",
    "too_many_calls",
    "too_many_exports",
    "too_many_streams",
    "too_many_waiting",
    "unknown_key",
    "unknown_method",
    "unsupported_audio",
    "unsupported_media_type",
    "upload_not_found",
    "uri_too_long",
    "user_disabled",
    "user_expired",
    "variable_denied",
]


class ApiError(Exception):
    """A request that can't be answered: a status, a stable code and a sentence for a person.

    `parameter` names the request's parameter at fault; `extra` adds members to the problem.
    `retry_after` is the number of seconds after which the same request may succeed, None where
    time alone changes nothing.
    """

    retry_after: int | None = None

    def __init__(
        self,
        status: int,
        code: Code,
        detail: str,
        *,
        parameter: str | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.extra = dict(extra or {})


def invalid_parameter(parameter: str, detail: str) -> ApiError:
    """A parameter whose value is not what it must be."""
    return ApiError(400, "invalid_parameter", detail, parameter=parameter)


def too_many(code: Code, detail: str, retry_after: int | None) -> ApiError:
    """A limit that is reached (429); `retry_after` in seconds, None where time doesn't help."""
    error = ApiError(429, code, detail)
    error.retry_after = retry_after
    return error
