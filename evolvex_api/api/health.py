"""GET health: for load balancers and monitoring; no key is needed to ask it."""

from __future__ import annotations

import json

from flask import Blueprint, Response

from evolvex_api.api.common import json_text, services
from evolvex_api.core.health import unhealthy

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> Response:
    """One word a dependency: 200 when all are ok, else 503 with the same `checks`."""
    checks = services().health.checks()
    if failure := unhealthy(checks):
        raise failure
    return json_text(json.dumps({"status": "ok", "checks": dict(checks)}))
