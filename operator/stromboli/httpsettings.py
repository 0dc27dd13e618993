"""The settings of the HTTP API, which the gateway serves: environment and `--config` file → one frozen object.

Names are those of Stromboli's own server: `rate_limit.rate` in the file is STROMBOLI_RATE_LIMIT_RPS in the environment,
which overrides the file. With an unknown key the gateway does not start, because a misspelt limit would be none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stromboli import addresses, bounds, configfile, environment
from stromboli.configfile import ConfigFile
from stromboli.errors import InvalidSettings
from stromboli.settings import Default, flag

ADDRESS = "STROMBOLI_SERVER_ADDRESS"
LOCAL_KUBECONFIG = "STROMBOLI_LOCAL_KUBECONFIG"
_MOST = 99_999
_LEAST_BODY, _MOST_BODY = 1024, bounds.DOCUMENT.size
# Keys of Stromboli's own server that the gateway does not use.
_FOREIGN = {configfile.RATE_LIMIT: ("trusted_proxies",)}


def _address(given: Any) -> Any:
    if not isinstance(given, str):
        raise ValueError(f'{given!r} is not a string; put it in quotes, such as "127.0.0.1:8080"')
    return addresses.parse_listening(given)


def _size(given: Any) -> int:
    """Bytes, as Stromboli spells sizes: `512k` and `4m` are multiples of 1024."""
    found = re.fullmatch(r"([0-9]{1,9})([kKmM]?)[bB]?", str(given))
    size = int(found[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[found[2].lower()] if found else 0
    if isinstance(given, bool) or not _LEAST_BODY <= size <= _MOST_BODY:
        raise ValueError(f"{given!r} is not a size from 1k to {_MOST_BODY // 1024**2}m; write 2m, for example")
    return size


def _number(given: Any) -> int:
    if not isinstance(given, bool) and re.fullmatch(r"[0-9]{1,5}", str(given)) and int(given) > 0:
        return int(given)
    raise ValueError(f"{given!r} is not a number from 1 to {_MOST}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=_Section)


class Server(_Section):
    """The keys under `server:`."""

    address: Annotated[tuple[str, int] | None, BeforeValidator(_address), Default("the HTTP API is not served")] = (
        Field(
            None,
            description="`HOST:PORT` of the HTTP API, over plain HTTP; `:PORT` is that port of every address.",
        )
    )
    body_limit: Annotated[int, BeforeValidator(_size), Default("`4m`")] = Field(
        _MOST_BODY, description="Largest body of a request, such as `512k`; a larger one is answered with 413."
    )


class RateLimit(_Section):
    """The keys under `rate_limit:`."""

    enabled: Annotated[bool, BeforeValidator(flag)] = Field(
        False,
        description="Limit the calls with each token, or without one from each address; others get 429.",
    )
    rate: Annotated[int, BeforeValidator(_number)] = Field(10, description="Calls a second.")
    burst: Annotated[int, BeforeValidator(_number)] = Field(20, description="Calls at once.")


SECTIONS: Mapping[str, type[_Section]] = {configfile.SERVER: Server, configfile.RATE_LIMIT: RateLimit}


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The settings of the HTTP API. `warnings` are sentences to log at the start.

    `local_kubeconfig` is set by `stromboli up` alone: calls over loopback without a token act as its user.
    """

    server: Server = field(default_factory=Server)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    local_kubeconfig: Path | None = None
    warnings: tuple[str, ...] = ()


def load(environ: Mapping[str, str], config: Path | None = None) -> HttpSettings:
    """Read and check the settings. Raises InvalidSettings, which names the key or the variable."""
    file = configfile.read(config)
    server, foreign_server = _read(Server, configfile.SERVER, file, environ)
    rate_limit, foreign_limit = _read(RateLimit, configfile.RATE_LIMIT, file, environ)
    local = environ.get(LOCAL_KUBECONFIG)
    warnings = (*file.warnings, *map(configfile.ignored, (*foreign_server, *foreign_limit)))
    return HttpSettings(server, rate_limit, Path(local) if local else None, warnings)


def _read(model: type[S], section: str, file: ConfigFile, environ: Mapping[str, str]) -> tuple[S, list[str]]:
    """The settings of a section, and the names of those that only Stromboli's own server uses."""
    in_file = {key: (value, f"{section}.{key}") for key, value in file.section(section).items()}
    names = environment.variables(environ, section)
    in_environment = {key: (environ[name], name) for key, name in names.items()}
    keys, foreign = tuple(model.model_fields), []
    for key, (_, name) in (*in_file.items(), *in_environment.items()):
        if key in _FOREIGN.get(section, ()):
            foreign.append(name)
        elif key not in keys:
            near = configfile.did_you_mean(key, keys)
            raise InvalidSettings(f"there is no such key{near}; the keys are {', '.join(keys)}", name)
    found = {**_set(in_file), **_set(in_environment)}
    try:
        return model.model_validate({key: value for key, (value, _) in found.items() if key in keys}), foreign
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        _, name = found[str(first["loc"][0])]
        raise InvalidSettings(_said(first["type"], first["msg"], first["input"]), name) from e


def _set(values: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    return {key: (value, name) for key, (value, name) in values.items() if value != ""}


def _said(kind: str, message: str, given: Any) -> str:
    if kind == "bool_parsing":
        return f"{given!r} is neither true nor false; write one of them"
    return message.removeprefix("Value error, ")
