"""Whether a spec asks the CLI to bypass its permission checks, in any of its fields. Pure.

As root, the CLI does so only if IS_SANDBOX says that it is in a container.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stromboli.models.claude import ClaudeOptions, PermissionMode
from stromboli.plan import documents


def are_skipped(options: ClaudeOptions) -> bool:
    """Whether they may be skipped. A settings file inside the container is unknown here, so it counts as doing so."""
    if options.dangerously_skip_permissions or documents.is_path(options.settings):
        return True
    return PermissionMode.bypassPermissions in _modes(options)


def _modes(options: ClaudeOptions) -> Iterator[Any]:
    yield options.permission_mode
    settings = documents.mapping(options.settings, "spec.claude.settings", path=True) or {}
    permissions = settings.get("permissions")
    if isinstance(permissions, dict):
        yield permissions.get("defaultMode")
    for agent in (documents.mapping(options.agents, "spec.claude.agents") or {}).values():
        if isinstance(agent, dict):
            yield agent.get("permissionMode")
