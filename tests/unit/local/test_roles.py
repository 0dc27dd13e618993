"""The roles for people that a local installation has."""

from __future__ import annotations

from stromboli.local import roles


def test_they_are_those_that_the_guides_name_and_let_logs_be_read() -> None:
    found = {role["metadata"]["name"]: role["rules"] for role in roles.objects()}
    assert tuple(found) == roles.NAMES
    for name in ("stromboli-user", "stromboli-viewer"):
        assert any("agentruns/log" in rule["resources"] and "get" in rule["verbs"] for rule in found[name])
