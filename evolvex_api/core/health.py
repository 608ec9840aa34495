"""What `health` says: one word for each thing that the service depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from evolvex_api.core.refusals import ApiError, Code

Word = Literal["ok", "unavailable", "slow"]
Check = Literal["pbx", "cdr", "recordings"]

_CODES: Mapping[str, Code] = {
    "pbx": "pbx_unavailable",
    "cdr": "cdr_unavailable",
    "recordings": "storage_unavailable",
}


def unhealthy(checks: Mapping[Check, Word]) -> ApiError | None:
    """The failure of the first check that is not ok, with all `checks`; None when all are."""
    failed = [name for name, word in checks.items() if word != "ok"]
    if not failed:
        return None
    detail = f"Not available: {', '.join(failed)}. `evolvex-api doctor` on the PBX names the cause."
    return ApiError(503, _CODES[failed[0]], detail, extra={"checks": dict(checks)})
