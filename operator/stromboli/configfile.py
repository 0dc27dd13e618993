"""The YAML file of settings (`--config FILE`), which operator and gateway share: its sections, and who reads each.

It is the file of Stromboli's own server, so both accept one that was written for that. What is below a section is read
and checked by the process that uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stromboli import bounds, files
from stromboli.errors import InvalidSettings, OutOfBounds

AGENT, SERVER, RATE_LIMIT = "agent", "server", "rate_limit"
# Each section that is used, with a key as an example.
_USED = {AGENT: "cli_image: …", SERVER: 'address: ":8080"', RATE_LIMIT: "enabled: true"}
_FOREIGN = frozenset({"resources", "auth", "jwt", "jobs", "tracing", "compose", "metrics", "webhook", "log"})


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The sections of a file. `warnings` are sentences to log at the start, one for each section that nothing uses."""

    sections: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def section(self, name: str) -> dict[str, Any]:
        """The keys of a section that is used, empty if it is missing. Raises InvalidSettings."""
        keys = self.sections.get(name) or {}
        if not isinstance(keys, dict):
            raise InvalidSettings(f"is not a mapping; write keys below it, such as `{_USED[name]}`", name)
        return {str(key): value for key, value in keys.items()}


def read(config: Path | None) -> ConfigFile:
    """The file, which has no section if there is none. Raises InvalidSettings, also for an unknown section."""
    document = _document(config) if config else {}
    others = sorted(document.keys() - _USED.keys())
    for section in others:
        if section not in _FOREIGN:
            raise InvalidSettings(
                f"there is no such section; `{AGENT}:` is read by the operator, `{SERVER}:` and `{RATE_LIMIT}:` by the"
                f" gateway{did_you_mean(section, tuple(_USED))}",
                section,
            )
    return ConfigFile(document, tuple(ignored(section) for section in others))


def ignored(name: str) -> str:
    """The warning for a section, or for a key, that only Stromboli's own server uses."""
    return f"{name}: is a setting of Stromboli's own server, which neither operator nor gateway uses; it is ignored"


def did_you_mean(given: str, names: tuple[str, ...]) -> str:
    """What a message goes on with if one of the names is nearly what was given; empty if none is."""
    close = difflib.get_close_matches(given, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _document(config: Path) -> dict[str, Any]:
    try:
        document = bounds.yaml_document(files.beginning(config, bounds.DOCUMENT.size + 1), bounds.DOCUMENT) or {}
    except OSError as e:
        why = f"{config} cannot be read ({e.strerror}); give the path of a YAML file"
        raise InvalidSettings(why, "--config") from e
    except OutOfBounds as e:
        raise InvalidSettings(f"{config.name} {e}", "--config") from e
    except ValueError as e:
        raise InvalidSettings(f"{config.name} is not YAML: {e}", "--config") from e
    if not isinstance(document, dict):
        why = f"{config.name} is not a mapping; it has to begin with a section, such as `{AGENT}:`"
        raise InvalidSettings(why, "--config")
    return {str(section): keys for section, keys in document.items()}
