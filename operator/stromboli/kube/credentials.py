"""What goes into the Authorization header of a call to the API server, by the user of a kubeconfig.

A user with a client certificate has none (see wire.py). A token of a file or of a program changes from time to time: it
is read again once the API server has refused it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from stromboli import bounds, childprocess
from stromboli.errors import ClusterUnavailable

Read = Callable[[], Awaitable[str]]
PROGRAM = 60.0  # seconds for a program that provides a token
_PROTOCOL = "client.authentication.k8s.io/"


class Credentials:
    """The header's value, empty without one. It is read when it is first used."""

    def __init__(self, config: SingleConfig) -> None:
        """Raises ConfigError for a kind of credentials that is not supported."""
        self._fixed, self._read = _source(config)
        self._known: str | None = self._fixed

    @property
    def can_change(self) -> bool:
        """Whether another one may be accepted after a refusal."""
        return self._read is not None

    async def header(self, *, refused: bool = False) -> str:
        """The value, read again if the last one was refused. Raises ClusterUnavailable."""
        if self._read is not None and (refused or self._known is None):
            self._known = await self._read()
        return self._known or ""


def _source(config: SingleConfig) -> tuple[str | None, Read | None]:
    """The value, or how to read it. In lightkube's order."""
    user = config.user
    if user is None:
        return "", None
    if user.token_file is not None:
        path = Path(config.abs_file(user.token_file))
        return None, lambda: _of_file(path)
    if user.token is not None:
        return f"Bearer {user.token}", None
    if user.exec:
        program = user.exec
        return None, lambda: _of_program(program)
    if user.username and user.password:
        return f"Basic {base64.b64encode(f'{user.username}:{user.password}'.encode()).decode()}", None
    if user.auth_provider:
        raise ConfigError("auth-provider not supported")
    return "", None


async def _of_file(path: Path) -> str:
    try:
        return f"Bearer {path.read_text().strip()}"
    except (OSError, ValueError) as e:
        raise ClusterUnavailable(f"the token of the kubeconfig's user cannot be read: {e}") from e


async def _of_program(program: Any) -> str:
    """The token that a credential plugin prints."""
    try:
        if not str(program.apiVersion).startswith(_PROTOCOL):
            raise ValueError(f"apiVersion {program.apiVersion} is not supported; {_PROTOCOL}v1beta1 is")
        about = {"apiVersion": program.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
        environ = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(about)}
        environ |= {entry.name: entry.value for entry in program.env or ()}
        printed = await _output([program.command, *(program.args or ())], environ)
        token = str(bounds.json_document(printed, bounds.ANSWER)["status"]["token"])
    except (OSError, ValueError, LookupError, TypeError) as e:
        raise ClusterUnavailable(f"the kubeconfig's program {program.command} gave no token: {e}") from e
    return f"Bearer {token}"


async def _output(command: list[str], environ: dict[str, str]) -> bytes:
    try:
        ended = await childprocess.run(command, b"", seconds=PROGRAM, env=environ)
    except TimeoutError as e:
        raise ValueError(f"it did not end within {PROGRAM:.0f} s") from e
    if ended.exit_code != 0:
        raise ValueError(f"it ended with {ended.exit_code}: {ended.errors.decode(errors='replace').strip()[-200:]}")
    return ended.output
