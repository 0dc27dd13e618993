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


def stated(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment's values for the keys under `agent:`, unparsed; an empty value means that the key is unset."""
    return {k.removeprefix(PREFIX).lower(): v for k, v in environ.items() if k.startswith(PREFIX)}


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
