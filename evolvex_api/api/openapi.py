"""GET openapi.json: the contract, for programs; no key is needed to read it."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import yaml
from flask import Blueprint, Response, request

from evolvex_api.api.common import json_text

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI document, whose server is the prefix that it was asked at."""
    prefix = request.path.rpartition("/")[0]
    return json_text(json.dumps(document() | {"servers": [{"url": prefix}]}, ensure_ascii=False))


@functools.cache
def document() -> dict[str, Any]:
    """openapi.yaml, parsed when first asked for."""
    text = resources.files("evolvex_api").joinpath("openapi.yaml").read_text(encoding="utf-8")
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed
