"""Bypassing permissions is one wish, whichever door it comes through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.plan import permissions
from tests.support.builders import claude

BYPASS = {"permissions": {"defaultMode": "bypassPermissions"}}


@pytest.mark.parametrize(
    ("options", "skips"),
    [
        ({}, False),
        ({"dangerouslySkipPermissions": True}, True),
        ({"permissionMode": "bypassPermissions"}, True),
        ({"permissionMode": "acceptEdits"}, False),
        ({"settings": BYPASS}, True),
        ({"settings": json.dumps(BYPASS)}, True),
        ({"settings": {"permissions": {"defaultMode": "plan"}}}, False),
        ({"settings": {"permissions": ["bypassPermissions"]}}, False),
        ({"settings": {"defaultMode": "bypassPermissions"}}, False),
        ({"settings": "/etc/claude/settings.json"}, True),
        ({"agents": {"a": {"permissionMode": "bypassPermissions"}}}, True),
        ({"agents": json.dumps({"a": 1, "b": {"permissionMode": "bypassPermissions"}})}, True),
        ({"agents": {"a": {"permissionMode": "plan"}}}, False),
    ],
)
def test_who_skips_permissions(options: dict[str, Any], skips: bool) -> None:
    assert permissions.are_skipped(claude(**options)) is skips
