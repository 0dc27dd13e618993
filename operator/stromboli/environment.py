"""Paths that come from the environment alone, and the environment's values of settings, unparsed.

Settings are parsed and checked in `settings`. This module is separate so that the command line finds an installation
without loading the library that parses them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stromboli.errors import InvalidSettings

PREFIX = "STROMBOLI_AGENT_"  # of the variables that stand for keys under `agent:`
# The variable that Stromboli documents for `rate_limit.rate`; its server, too, takes STROMBOLI_RATE_LIMIT_RATE as well.
_RPS, _RATE = "STROMBOLI_RATE_LIMIT_RPS", "STROMBOLI_RATE_LIMIT_RATE"


def stated(environ: Mapping[str, str], section: str = "agent") -> dict[str, str]:
    """The environment's values for the keys of a section, unparsed; an empty value means that the key is unset."""
    return {key: environ[name] for key, name in variables(environ, section).items()}


def variables(environ: Mapping[str, str], section: str) -> dict[str, str]:
    """By key of a section, the variable that says something of it."""
    prefix = f"STROMBOLI_{section.upper()}_"
    names = sorted((name for name in environ if name.startswith(prefix)), key=lambda name: name != _RPS)
    return {(_RATE if name == _RPS else name).removeprefix(prefix).lower(): name for name in names}


def variable(section: str, key: str) -> str:
    """The name of a key in the environment, as it is documented."""
    name = f"STROMBOLI_{section.upper()}_{key.upper()}"
    return _RPS if name == _RATE else name


def home(environ: Mapping[str, str]) -> Path:
    """`STROMBOLI_HOME`, else `stromboli` in the XDG data folder."""
    if given := environ.get("STROMBOLI_HOME"):
        return Path(os.path.abspath(given))
    data = environ.get("XDG_DATA_HOME") or ""
    # The XDG specification says to ignore a relative path.
    base = Path(data) if data.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local/share"
    return base / "stromboli"


def runtime_dir(environ: Mapping[str, str]) -> Path:
    """The folder for secrets while a run needs them; it must be on a tmpfs."""
    return Path(environ.get("STROMBOLI_RUNTIME_DIR") or f"/dev/shm/stromboli-{os.getuid()}")


def podman_socket(environ: Mapping[str, str]) -> Path:
    """The socket of `CONTAINER_HOST`, else the standard one of this user.

    Raises InvalidSettings for a host that is not a Unix socket: operator and Podman share a file system.
    """
    host = environ.get("CONTAINER_HOST", "")
    if host.startswith("unix://"):
        return Path(host.removeprefix("unix://"))
    if host:
        raise InvalidSettings(f"{host!r} is not a Unix socket; write unix:///path/podman.sock", "CONTAINER_HOST")
    if os.getuid() == 0:
        return Path("/run/podman/podman.sock")
    return Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "podman/podman.sock"
