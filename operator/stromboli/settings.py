"""The operator's own settings: environment and `--config` file → one frozen object, checked at the start.

Names are Stromboli's, so an existing configuration carries over: `agent.cli_image` in the file is
`STROMBOLI_AGENT_CLI_IMAGE` in the environment, and the environment wins. A misspelt key under `agent.`
stops the start, because an allowlist that is not read allows everything; a key that Stromboli knows and
that means nothing here is a warning.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stromboli import bounds, files, naming
from stromboli.errors import InvalidInput, InvalidSettings, OutOfBounds
from stromboli.grammar import pattern, reference

DEFAULT_CLI_IMAGE = "ghcr.io/tomblancdev/stromboli-agent"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is documented: its type, its default in words and what it does."""

    type: type
    default: str
    text: str


# The keys under `agent:`; in the environment with ENV_PREFIX and in capitals.
AGENT: Mapping[str, Setting] = {
    "allowed_image_patterns": Setting(
        list,
        "every image",
        "Patterns of allowed images; commas separate them in the environment. AgentPolicies can only narrow this list.",
    ),
    "allowed_volumes": Setting(
        list,
        "no host path",
        "Host folders that runs may mount; commas separate them in the environment. AgentPolicies can only narrow this"
        " list.",
    ),
    "cli_image": Setting(str, f"`{DEFAULT_CLI_IMAGE}`", "Image that holds the Claude CLI, unless a policy names one."),
    "cli_image_tag": Setting(str, "`latest`", "Tag of the CLI image, unless a policy names one."),
    "auto_pull_cli": Setting(bool, "`true`", "Pull the CLI image when the operator starts, if it is missing."),
    "mount_claude_cli": Setting(
        bool, "`true`", "Mount the CLI at `/opt/claude`; `false` where the images bring their own."
    ),
    "image": Setting(str, "none", "Image of runs that name none, unless a policy has `defaults.image`."),
    "credentials_file": Setting(
        str,
        "none",
        "File in the format of the CLI's `.credentials.json`, used unless a policy or"
        " `credentials_secret` names a Secret.",
    ),
    "credentials_secret": Setting(
        str, "none", "Secret in the operator's namespace with Claude's credentials, unless a policy names one."
    ),
}
# The variables that have no key in the file.
ENVIRONMENT: Mapping[str, Setting] = {
    "STROMBOLI_HOME": Setting(
        str,
        "`$XDG_DATA_HOME/stromboli` (`~/.local/share/stromboli`)",
        "Folder for the records of runs and sessions; a local installation keeps everything in it.",
    ),
    "STROMBOLI_RUNTIME_DIR": Setting(
        str, "`/dev/shm/stromboli-UID`", "Folder for secrets while a run needs them. It has to be on a tmpfs."
    ),
    "STROMBOLI_NODE": Setting(str, "the host name", "Name of the node, as `status.node` shows it."),
    "STROMBOLI_NAMESPACE": Setting(
        str, "`stromboli-system`", "The operator's namespace, where policies' credentials are looked up by default."
    ),
    "STROMBOLI_API_ADDRESS": Setting(str, "`127.0.0.1:0`", "`HOST:PORT` of the read API; port 0 is any free port."),
    "STROMBOLI_MAX_STARTS": Setting(
        int,
        "twice the number of cores",
        "How many runs the node starts at once. The others are `Queued`; namespaces take turns.",
    ),
    "STROMBOLI_MAX_RUNS": Setting(int, "any number", "How many agents are at work on the node at once."),
    "CONTAINER_HOST": Setting(
        str,
        "`unix:///run/podman/podman.sock`; rootless `unix://$XDG_RUNTIME_DIR/podman/podman.sock`",
        "Podman's socket.",
    ),
}
# What Stromboli's own server understands and a Kubernetes operator has no use for.
_FOREIGN_AGENT = frozenset(
    {
        "image_tag",
        "allow_all_volumes",
        "workdir_auto_create",
        "volume_auto_create",
        "sessions_dir",
        "sessions_host_dir",
        "secrets_file",
        "token_cache",
        "allowed_workspaces",
        "default_memory",
        "default_cpus",
        "default_timeout",
    }
)
_FOREIGN_SECTIONS = frozenset(
    {"server", "resources", "auth", "rate_limit", "jwt", "jobs", "tracing", "compose", "metrics"}
)
ENV_PREFIX = "STROMBOLI_AGENT_"
STARTS_PER_CORE = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for one operator process. `warnings` are sentences to log at the start."""

    home: Path
    runtime_dir: Path
    podman_socket: Path
    node: str
    allowed_image_patterns: tuple[str, ...] = ()
    allowed_volumes: tuple[str, ...] = ()
    cli_image: str = DEFAULT_CLI_IMAGE
    cli_image_tag: str = "latest"
    auto_pull_cli: bool = True
    mount_claude_cli: bool = True
    image: str | None = None
    credentials_file: Path | None = None
    credentials_secret: str | None = None
    system_namespace: str = "stromboli-system"
    api_address: tuple[str, int] = ("127.0.0.1", 0)  # port 0 is a free one
    max_starts: int = field(default_factory=lambda: STARTS_PER_CORE * (os.cpu_count() or 1))
    max_runs: int | None = None  # None for any number
    warnings: tuple[str, ...] = field(default=())


def load(environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Read the settings. Raises InvalidSettings with the name of the key that is wrong."""
    values, warnings = _from_file(config) if config else ({}, [])
    env_values, env_warnings = _from_environment(environ)
    values.update(env_values)
    _check(values)
    credentials = values.pop("credentials_file", None)
    return Settings(
        home=home(environ),
        runtime_dir=_runtime_dir(environ),
        podman_socket=podman_socket(environ),
        node=environ.get("STROMBOLI_NODE") or socket.gethostname(),
        credentials_file=_expanded(credentials, environ) if credentials else None,
        system_namespace=environ.get("STROMBOLI_NAMESPACE") or "stromboli-system",
        api_address=_api_address(environ),
        max_starts=_number(environ, "STROMBOLI_MAX_STARTS") or STARTS_PER_CORE * (os.cpu_count() or 1),
        max_runs=_number(environ, "STROMBOLI_MAX_RUNS"),
        warnings=tuple(warnings + env_warnings),
        **values,
    )


def stated(environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment says of the keys under `agent:`, unread; an empty text means that it is unset."""
    return {k.removeprefix(ENV_PREFIX).lower(): v for k, v in environ.items() if k.startswith(ENV_PREFIX)}


def home(environ: Mapping[str, str]) -> Path:
    """`STROMBOLI_HOME`, else `stromboli` in the XDG data folder."""
    if given := environ.get("STROMBOLI_HOME"):
        return Path(os.path.abspath(given))
    data = environ.get("XDG_DATA_HOME") or ""
    # The XDG specification has a relative path there ignored.
    base = Path(data) if data.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local/share"
    return base / "stromboli"


def _api_address(environ: Mapping[str, str]) -> tuple[str, int]:
    """`STROMBOLI_API_ADDRESS`, where the read API listens. Raises InvalidSettings."""
    key = "STROMBOLI_API_ADDRESS"
    given = environ.get(key) or "127.0.0.1:0"
    host, _, port = given.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidSettings(f"{given!r} is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443", key)
    return host, int(port)


def _number(environ: Mapping[str, str], key: str) -> int | None:
    """A number from 1 to 99999; None where it is not set. Raises InvalidSettings."""
    given = environ.get(key, "")
    if not given:
        return None
    if not re.fullmatch("[1-9][0-9]{0,4}", given):
        raise InvalidSettings(f"{given!r} is not a number from 1 to 99999", key)
    return int(given)


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


def _expanded(path: str, environ: Mapping[str, str]) -> Path:
    """A path whose `~/` is the operator's own home, as Stromboli's default for it is written."""
    return Path(environ.get("HOME", "/")) / path[2:] if path.startswith("~/") else Path(path)


def _runtime_dir(environ: Mapping[str, str]) -> Path:
    """Where secrets lie while a run needs them: it has to be a tmpfs."""
    if given := environ.get("STROMBOLI_RUNTIME_DIR"):
        return Path(given)
    return Path("/dev/shm") / f"stromboli-{os.getuid()}"


def _from_file(config: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        document = bounds.yaml_document(files.beginning(config, bounds.DOCUMENT.size + 1), bounds.DOCUMENT) or {}
    except OSError as e:
        raise InvalidSettings(f"cannot be read ({e.strerror}); give the path of a YAML file", "--config") from e
    except OutOfBounds as e:
        raise InvalidSettings(f"{config.name} {e}", "--config") from e
    except ValueError as e:
        raise InvalidSettings(f"{config.name} is not YAML: {e}", "--config") from e
    if not isinstance(document, dict):
        raise InvalidSettings(f"{config.name} has no keys at its top; it starts with `agent:`", "--config")
    warnings = []
    for section in sorted(str(k) for k in document if k != "agent"):
        if section not in _FOREIGN_SECTIONS:
            raise InvalidSettings(f"there is no such section; what is read here is `agent:`{_near(section)}", section)
        warnings.append(f"{section}: has no meaning for the operator and is ignored")
    agent = document.get("agent") or {}
    if not isinstance(agent, dict):
        raise InvalidSettings("is a mapping of keys, such as `cli_image: …`", "agent")
    return _typed({str(k): v for k, v in agent.items()}, warnings)


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    return _typed(stated(environ), [])


def _typed(raw: Mapping[str, Any], warnings: list[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    for key, value in sorted(raw.items()):
        if key in AGENT:
            if value != "":  # Stromboli reads an empty text as "not set"
                values[key] = _convert(key, value)
        elif key in _FOREIGN_AGENT:
            warnings.append(f"agent.{key}: has no meaning for the operator and is ignored")
        else:
            raise InvalidSettings(f"there is no such key{_near(key)}; known are {', '.join(AGENT)}", f"agent.{key}")
    return values, warnings


def _convert(key: str, value: Any) -> Any:
    kind = AGENT[key].type
    if kind is list:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(i, str) for i in items):
            return tuple(i.strip() for i in items if i.strip())
        raise InvalidSettings("is a list of strings (in the environment: separated by commas)", f"agent.{key}")
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "1", "yes", "false", "0", "no"):
            return value.lower() in ("true", "1", "yes")
        raise InvalidSettings(f"{value!r} is neither true nor false", f"agent.{key}")
    if isinstance(value, str):
        return value
    raise InvalidSettings(f"{value!r} is not a string; put it in quotes", f"agent.{key}")


def _check(values: Mapping[str, Any]) -> None:
    """Everything that is parsed later is parsed once now, so that the start fails and not the first run."""
    for n, text in enumerate(values.get("allowed_image_patterns", ())):
        _parsed(lambda t=text: pattern.parse(t), f"agent.allowed_image_patterns[{n}]")
    for n, path in enumerate(values.get("allowed_volumes", ())):
        if not path.startswith("/") or ".." in path.split("/"):
            raise InvalidSettings(f"{path!r} is not an absolute path", f"agent.allowed_volumes[{n}]")
        if set(path) & set("*?["):
            said = f"{path!r} is a path and not a pattern; name a folder, and all below it is allowed"
            raise InvalidSettings(said, f"agent.allowed_volumes[{n}]")
    if "image" in values:
        _parsed(lambda: reference.parse(values["image"]), "agent.image")
    secret = values.get("credentials_secret")
    if secret is not None and not re.fullmatch(naming.OBJECT_NAME_PATTERN, secret):
        raise InvalidSettings(f"{secret!r} is not the name of a Secret", "agent.credentials_secret")
    image = values.get("cli_image", DEFAULT_CLI_IMAGE)
    tag = values.get("cli_image_tag", reference.DEFAULT_TAG)
    _parsed(lambda: reference.parse(reference.with_tag(image, tag)), "agent.cli_image")


def _parsed(parse: Any, key: str) -> None:
    try:
        parse()
    except InvalidInput as e:
        raise InvalidSettings(e.message, key) from e


def _near(key: str) -> str:
    close = difflib.get_close_matches(key, [*AGENT, "agent"], n=1)
    return f" (did you mean {close[0]}?)" if close else ""
