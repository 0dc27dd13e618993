"""The operator's own settings: environment and `--config` file → one frozen object, checked at the start.

Names are those of Stromboli's own server, so an existing configuration can be used: `agent.cli_image` in the file is
`STROMBOLI_AGENT_CLI_IMAGE` in the environment, which overrides the file. With an unknown key under `agent:` the
operator does not start, because a misspelt allowlist would allow everything; a key that only Stromboli's server uses is
ignored with a warning.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from stromboli import addresses, configfile, environment, naming
from stromboli.errors import InvalidInput, InvalidSettings
from stromboli.grammar import pattern, reference

DEFAULT_CLI_IMAGE = "ghcr.io/tomblancdev/stromboli-agent"
STARTS_PER_CORE = 2
_MOST = 99_999
# Keys of Stromboli's own server that this operator does not use.
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


@dataclass(frozen=True, slots=True)
class Default:
    """How the reference shows the default of a setting, if that is not a plain value."""

    words: str


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings, or one text with commas. Raises ValueError."""
    items = value.split(",") if isinstance(value, str) else value
    if isinstance(items, list | tuple) and all(isinstance(i, str) for i in items):
        return tuple(i.strip() for i in items if i.strip())
    raise ValueError("must be a list of strings (in the environment: separated by commas)")


def flag(value: Any) -> Any:
    """Reject numbers, which the library would accept as flags; it parses strings itself."""
    if isinstance(value, bool | str):
        return value
    raise ValueError(f"{value!r} is neither true nor false")


def _parsed(text: str, parse: Callable[[str], object]) -> str:
    """Parse a value that is parsed again when it is used, so that an error stops the start and not the first run."""
    try:
        parse(text)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    return text


def _tag(tag: str, info: ValidationInfo) -> str:
    if image := info.data.get("cli_image"):  # absent if it is invalid itself
        _parsed(reference.with_tag(image, tag), reference.parse)
    return tag


def _folder(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not an absolute path without `..`; write it as /srv/code")
    if set(path) & set("*?["):
        raise ValueError(f"{path!r} must be a path, not a pattern; name a folder, and everything below it is allowed")
    return path


def _secret(name: str) -> str:
    if not re.fullmatch(naming.OBJECT_NAME_PATTERN, name):
        raise ValueError(
            f"{name!r} is not a valid name of a Secret; use lower-case letters, digits, - and ., such as claude"
        )
    return name


def _address(given: Any) -> Any:
    return addresses.parse(given) if isinstance(given, str) else given


_Reference = Annotated[str, AfterValidator(lambda text: _parsed(text, reference.parse))]
_Pattern = Annotated[str, AfterValidator(lambda text: _parsed(text, pattern.parse))]
_Flag = Annotated[bool, BeforeValidator(flag)]
_Number = Annotated[int, Field(ge=1, le=_MOST)]


class Agent(BaseSettings):
    """The keys under `agent:`; in the environment, they have a prefix and are in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=environment.PREFIX, enable_decoding=False, extra="forbid", frozen=True, populate_by_name=True
    )

    allowed_image_patterns: Annotated[tuple[_Pattern, ...], BeforeValidator(texts), Default("every image")] = Field(
        (),
        description="Patterns of allowed images; commas separate them in the environment. AgentPolicies can only narrow"
        " this list.",
    )
    allowed_volumes: Annotated[
        tuple[Annotated[str, AfterValidator(_folder)], ...], BeforeValidator(texts), Default("no host path")
    ] = Field(
        (),
        description="Host folders that runs may mount; commas separate them in the environment. AgentPolicies can only"
        " narrow this list.",
    )
    cli_image: _Reference = Field(
        DEFAULT_CLI_IMAGE, description="Image that holds the Claude CLI, unless a policy names one."
    )
    cli_image_tag: Annotated[str, AfterValidator(_tag)] = Field(
        reference.DEFAULT_TAG, description="Tag of the CLI image, unless a policy names one."
    )
    auto_pull_cli: _Flag = Field(
        True, description="Pull the CLI image if it is missing; `false`: never, unless a policy has `cli.pull`."
    )
    mount_claude_cli: _Flag = Field(
        True, description="Mount the CLI at `/opt/claude`; `false` if the images contain their own."
    )
    image: _Reference | None = Field(
        None, description="Image of runs that name none, unless a policy has `defaults.image`."
    )
    credentials_file: Path | None = Field(
        None,
        description="File in the format of the CLI's `.credentials.json`, used unless a policy or"
        " `credentials_secret` names a Secret.",
    )
    credentials_secret: Annotated[str, AfterValidator(_secret)] | None = Field(
        None, description="Secret in the operator's namespace with Claude's credentials, unless a policy names one."
    )


class Settings(Agent):
    """The settings of an operator process. `warnings` are sentences to log at the start.

    The fields below have no key in the file. An object created without `load` does not read the environment.
    """

    home: Annotated[Path, Default("`$XDG_DATA_HOME/stromboli` (`~/.local/share/stromboli`)")] = Field(
        validation_alias="STROMBOLI_HOME",
        description="Folder for the records of runs and sessions; a local installation keeps everything in it.",
    )
    runtime_dir: Annotated[Path, Default("`/dev/shm/stromboli-UID`")] = Field(
        validation_alias="STROMBOLI_RUNTIME_DIR",
        description="Folder for secrets while a run needs them. It has to be on a tmpfs.",
    )
    node: Annotated[str, Default("the host name")] = Field(
        default_factory=socket.gethostname,
        validation_alias="STROMBOLI_NODE",
        description="Name of the node, as `status.node` shows it.",
    )
    system_namespace: str = Field(
        "stromboli-system",
        validation_alias="STROMBOLI_NAMESPACE",
        description="The operator's namespace, where policies' credentials are looked up by default.",
    )
    api_address: Annotated[tuple[str, int], BeforeValidator(_address), Default("`127.0.0.1:0`")] = Field(
        ("127.0.0.1", 0),
        validation_alias="STROMBOLI_API_ADDRESS",
        description="`HOST:PORT` of the read API, at which the gateway reaches it; port 0 is any free port.",
    )
    health_address: Annotated[tuple[str, int] | None, BeforeValidator(_address), Default("they are not served")] = (
        Field(
            None,
            validation_alias="STROMBOLI_HEALTH_ADDRESS",
            description="`HOST:PORT` of `/healthz`, `/readyz` and `/metrics`, which say over plain HTTP how it is.",
        )
    )
    max_starts: Annotated[_Number, Default("twice the number of cores")] = Field(
        default_factory=lambda: STARTS_PER_CORE * (os.cpu_count() or 1),
        validation_alias="STROMBOLI_MAX_STARTS",
        description="Maximum number of runs that a node starts at a time; others are `Queued`. Namespaces alternate.",
    )
    max_runs: Annotated[_Number | None, Default("no limit")] = Field(
        None,
        validation_alias="STROMBOLI_MAX_RUNS",
        description="Maximum number of agents that run on the node at a time. Other runs are `Queued`.",
    )
    podman_socket: Annotated[
        Path, Default("`unix:///run/podman/podman.sock`; rootless `unix://$XDG_RUNTIME_DIR/podman/podman.sock`")
    ] = Field(validation_alias="CONTAINER_HOST", description="Podman's socket.")
    warnings: tuple[str, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


AGENT: Mapping[str, FieldInfo] = Agent.model_fields
# The variables that have no key in the file.
ENVIRONMENT: Mapping[str, FieldInfo] = {
    str(f.validation_alias): f for f in Settings.model_fields.values() if f.validation_alias
}


class _Environment(EnvSettingsSource):
    """The variables of `environ` with names in capitals; an empty value means "not set", as in Stromboli's server."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items() if value and name.isupper()}


def load(environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Read and check the settings. Raises InvalidSettings, which names the invalid key."""
    file = configfile.read(config)
    in_file, in_environment = file.section(configfile.AGENT), environment.stated(environ)
    known = {
        "home": environment.home(environ),
        "runtime_dir": environment.runtime_dir(environ),
        "podman_socket": environment.podman_socket(environ),
        "warnings": (*file.warnings, *_foreign_keys(in_file), *_foreign_keys(in_environment)),
    }
    stated = {key: value for key, value in in_file.items() if key in AGENT and value != ""}
    sources = (InitSettingsSource(Settings, known), _Environment(environ), InitSettingsSource(Settings, stated))
    try:
        found = Settings(_build_sources=(sources, {}))
    except ValidationError as e:
        raise _refusal(e) from e
    if found.credentials_file is None:
        return found
    return found.model_copy(update={"credentials_file": _expanded(found.credentials_file, environ)})


def _expanded(path: Path, environ: Mapping[str, str]) -> Path:
    """The path with `~/` replaced by the operator's HOME, since Stromboli's default is written with it."""
    return Path(environ.get("HOME", "/"), *path.parts[1:]) if path.parts[:1] == ("~",) else path


def _foreign_keys(stated: Mapping[str, Any]) -> list[str]:
    """A warning for each key of Stromboli's server. Raises InvalidSettings for an unknown key."""
    others = sorted(stated.keys() - AGENT.keys())
    for key in others:
        if key not in _FOREIGN_AGENT:
            near = configfile.did_you_mean(key, tuple(AGENT))
            raise InvalidSettings(f"there is no such key{near}; the keys are {', '.join(AGENT)}", f"agent.{key}")
    return [configfile.ignored(f"agent.{key}") for key in others]


def _refusal(error: ValidationError) -> InvalidSettings:
    """The first error, with the key as it is written in the file or the environment."""
    first = error.errors(include_url=False)[0]
    name, *items = first["loc"]
    key = str(name) if name in ENVIRONMENT else f"agent.{name}"
    match first["type"]:
        case "string_type" | "path_type":
            said = f"{first['input']!r} is not a string; put it in quotes"
        case "bool_parsing":
            said = f"{first['input']!r} is neither true nor false; write one of them"
        case "int_parsing" | "greater_than_equal" | "less_than_equal":
            said = f"{first['input']!r} is not a number from 1 to {_MOST}"
        case _:
            said = first["msg"].removeprefix("Value error, ")
    return InvalidSettings(said, key + "".join(f"[{item}]" for item in items if isinstance(item, int)))
