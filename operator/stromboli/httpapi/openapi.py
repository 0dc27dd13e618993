"""The OpenAPI document of the application: /openapi.json, and docs/openapi.json in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stromboli.httpapi.errors import ErrorAnswer

FILE = Path("docs/openapi.json")
_REFERENCE = "#/components/schemas/{model}"
_BODIES: set[type[BaseModel]] = {ErrorAnswer}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: its body is this model, although the route reads it itself (any Content-Type)."""
    _BODIES.add(model)
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def text(document: dict[str, Any]) -> str:
    """As it stands in the repository, in FILE."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _made(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    models = sorted(_BODIES, key=lambda model: model.__name__)
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    schemas.update(found.get("$defs", {}))
    for operations in made["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own; an invalid parameter is answered with 400
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return made
