"""Credentials for one registry. Their `repr` shows nothing of them, and nothing writes them to a file."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password, or what the registry takes for a password."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token that a registry gave out at a login (OAuth 2.0)."""

    token: str = field(repr=False)


Credentials = Login | IdentityToken
_SHORTEST = 4  # characters: what is shorter cannot be told from ordinary words


def basic(login: Login) -> str:
    """The value of an Authorization header."""
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def parts(credentials: Credentials) -> tuple[str, ...]:
    """Everything that they consist of, beginning with their kind."""
    match credentials:
        case Login():
            return "login", credentials.user, credentials.password
        case IdentityToken():
            return "token", credentials.token


def without_secrets(text: str, credentials: Credentials | None) -> str:
    """`text` without the secret of these credentials, as it is and as it is sent."""
    for secret in _secrets(credentials):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "…")
    return text


def _secrets(credentials: Credentials | None) -> tuple[str, ...]:
    match credentials:
        case Login():
            return basic(credentials).removeprefix("Basic "), credentials.password
        case IdentityToken():
            return (credentials.token,)
        case None:
            return ()
