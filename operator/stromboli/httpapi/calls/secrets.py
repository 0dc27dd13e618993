"""GET and POST /secrets, GET and DELETE /secrets/{name}.

Behind each is a Secret with our label; Secrets without it are neither listed nor shown nor deleted. Of those that are
there only the metadata is read. What the API server says of a new one is passed on only if it has nothing of the value.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from fastapi import APIRouter, Request

from stromboli.errors import ApiRefused
from stromboli.httpapi import body, secret_names
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.errors import Refusal, errors_of, invalid, refusal_of
from stromboli.httpapi.openapi import body_of
from stromboli.httpapi.shapes import base
from stromboli.httpapi.shapes.secret import (
    CreateSecretAnswer,
    CreateSecretRequest,
    DeleteSecretAnswer,
    SecretInfo,
    SecretsAnswer,
)
from stromboli.kube.user import SECRETS, Object
from stromboli.naming import SECRET_LABEL, SECRET_NAME

router = APIRouter(tags=["secrets"])

_ENOUGH = 8  # characters of a value, or of its base64, by which an echo of it is recognized


@router.get("/secrets", summary="List the secrets")
async def list_secrets(caller: CallerOf) -> SecretsAnswer:
    """Names only, never a value."""
    found = await caller.cluster.heads(SECRETS, caller.namespace, labels=f"{SECRET_LABEL}=true")
    return SecretsAnswer(secrets=sorted(map(_info, found), key=lambda secret: secret.name))


@router.post(
    "/secrets",
    summary="Create a secret",
    status_code=201,
    responses=errors_of(404, 408, 409),
    openapi_extra=body_of(CreateSecretRequest),
)
async def create_secret(request: Request, caller: CallerOf) -> CreateSecretAnswer:
    """An existing one is not changed."""
    asked = base.parse(await body.read(request), CreateSecretRequest)
    try:
        await caller.cluster.create(SECRETS, caller.namespace, _manifest(asked))
    except ApiRefused as refused:
        raise _without(asked.value, refused, asked.name) from None
    return CreateSecretAnswer(name=asked.name)


@router.get("/secrets/{name}", summary="Show a secret", responses=errors_of(404))
async def get_secret(name: str, caller: CallerOf) -> SecretInfo:
    """Name and age, never the value."""
    return _info(await _head(caller, name))


@router.delete("/secrets/{name}", summary="Delete a secret", responses=errors_of(404, 409))
async def delete_secret(name: str, caller: CallerOf) -> DeleteSecretAnswer:
    """Runs that have begun keep what they were given; others that name it wait for it."""
    found = await _head(caller, name)
    await caller.cluster.delete(SECRETS, caller.namespace, str(found["name"]), uid=str(found["uid"]))
    return DeleteSecretAnswer(name=name)


def _manifest(asked: CreateSecretRequest) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_names.secret_name(asked.name),
            "labels": {SECRET_LABEL: "true"},
            "annotations": {SECRET_NAME: asked.name},
        },
        "type": "Opaque",
        "data": {secret_names.KEY: base64.b64encode(asked.value.encode()).decode()},
    }


async def _head(caller: Caller, name: str) -> Object:
    """The metadata of the secret of that name. Raises Refusal."""
    if not secret_names.is_name(name):
        raise invalid("name", "is no secret's: letters, digits, `.`, `-` and `_`, the first one a letter or digit")
    missing = Refusal(404, f"there is no secret {name!r} in the namespace {caller.namespace}", "NotFound")
    try:
        found = await caller.cluster.head(SECRETS, caller.namespace, secret_names.secret_name(name))
    except ApiRefused as refused:
        if refused.status == 404:
            raise missing from None
        raise
    if (found.get("labels") or {}).get(SECRET_LABEL) != "true" or _name(found) != name:
        raise missing
    return found


def _info(head: Object) -> SecretInfo:
    return SecretInfo(id=str(head["uid"]), name=_name(head), created_at=str(head["creationTimestamp"]))


def _name(head: Object) -> str:
    """The name that it was given; that of the object if somebody has removed the annotation."""
    annotations: dict[str, Any] = head.get("annotations") or {}
    return str(annotations.get(SECRET_NAME) or head["name"])


def _without(value: str, refused: ApiRefused, name: str) -> Refusal:
    """What the API server says to a new Secret; what an admission webhook says may have the object in it."""
    if refused.status == 409:
        said = f"there is already a secret {name!r}, or a Secret of that name; delete it, or choose another name"
        return Refusal(409, said, "AlreadyExists")
    answer = refusal_of(refused)
    if not _echoes(value, answer.error):
        return answer
    said = "the API server refuses the Secret, in words that are not passed on because they have some of its value"
    return Refusal(answer.status, said, answer.reason, headers=answer.headers)


def _echoes(value: str, said: str) -> bool:
    """Whether it has the value or some of it, as it is, as in JSON, or in base64."""
    lines = filter(None, map(str.strip, value.splitlines()))
    forms = [*lines, json.dumps(value)[1:-1], base64.b64encode(value.encode()).decode()]
    return any(form[:_ENOUGH] in said for form in forms)
