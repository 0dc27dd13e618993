"""Shapes of /secrets. No answer has a value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stromboli.httpapi import secret_names
from stromboli.httpapi.shapes.base import AnswerShape, RequestShape

# Bytes of a value: Kubernetes takes 1 MiB for all data of a Secret.
LARGEST = 1024 * 1024 - 1024
_EXAMPLE = "github-token"


def _checked_name(name: str) -> str:
    if not secret_names.is_name(name):
        raise ValueError(
            f"must begin with a letter or digit, and have only letters, digits, `.`, `-` and `_`, of which at most "
            f"{secret_names.MAX_LENGTH}, such as {_EXAMPLE}"
        )
    return name


def _checked_value(value: str) -> str:
    if not value:
        raise ValueError("is empty; a secret has at least one byte")
    if len(value.encode()) > LARGEST:
        raise ValueError(f"is too long: a secret has at most {LARGEST} bytes")
    return value


class CreateSecretRequest(RequestShape):
    """A new secret."""

    name: Annotated[str, AfterValidator(_checked_name)] = Field(
        description="Its name, for `podman.secrets_env` of runs.", examples=[_EXAMPLE]
    )
    value: Annotated[str, AfterValidator(_checked_value)] = Field(
        description=f"Its value, at most {LARGEST} bytes.", examples=["ghp_xxxxxxxxxxxx"]
    )


class SecretInfo(AnswerShape):
    """What may be known of a secret."""

    id: str = Field(description="Another one for each secret that was ever created.")
    name: str
    created_at: str = Field(description="When it was created (RFC 3339).")


class SecretsAnswer(AnswerShape):
    """The secrets, by name."""

    secrets: list[SecretInfo]


class CreateSecretAnswer(AnswerShape):
    """The secret is there."""

    success: Literal[True] = True
    name: str


class DeleteSecretAnswer(AnswerShape):
    """The secret is gone."""

    success: Literal[True] = True
    name: str
