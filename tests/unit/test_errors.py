"""Every failure leaves as problem+json."""

from __future__ import annotations

import pytest
from flask import Flask

from evolvex_api import errors
from evolvex_api.backends import failures
from evolvex_api.core.refusals import ApiError

KINDS = [
    kind
    for kind in vars(failures).values()
    if isinstance(kind, type)
    and issubclass(kind, failures.BackendFailure)
    and kind is not failures.BackendFailure
]


def answer_to(failure: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
    """What a client gets when a view raises: status, problem and headers."""
    app = Flask("errors")
    errors.register(app)

    def view() -> str:
        raise failure

    app.add_url_rule("/", view_func=view)
    answer = app.test_client().get("/")
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.get_json(), dict(answer.headers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_of_a_backend_has_its_status(kind: type[failures.BackendFailure]) -> None:
    given = ("why", "17.1") if kind is failures.OutcomeUnknown else ("why",)
    status, problem, headers = answer_to(kind(*given))
    assert status != 500
    assert (problem["status"], problem["detail"]) == (status, "why")
    assert ("Retry-After" in headers) == (status == 503)
    assert problem.get("Uniqueid") == ("17.1" if kind is failures.OutcomeUnknown else None)


def test_the_unexpected_tells_nothing() -> None:
    status, problem, _ = answer_to(RuntimeError("/etc/evolvex: secret"))
    assert (status, problem["code"]) == (500, "internal_error")
    assert "secret" not in str(problem)


def test_a_key_that_is_missing_says_how_to_give_one() -> None:
    status, problem, headers = answer_to(ApiError(401, "missing_key", "give one"))
    assert (status, problem["code"]) == (401, "missing_key")
    assert headers["WWW-Authenticate"].startswith("Bearer")
