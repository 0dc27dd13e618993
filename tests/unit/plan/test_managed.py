"""What the CLI is handed as managed settings."""

from __future__ import annotations

import json

import pytest

from stromboli.plan import managed


def test_nothing_is_handed_where_neither_image_nor_policy_says_anything() -> None:
    assert managed.files({}, {}) == {}


@pytest.mark.parametrize("others", [[], ["zz.json"], ["zzzzzzzz.json", "a/b.json"], ["~.json", "é.json", ".x", "a//b"]])
def test_the_policies_variables_come_last(others: list[str]) -> None:
    of_image = {f"managed-settings.d/{name}": b'{"env": {"A": "2"}}' for name in others}
    found = managed.files({"managed-settings.json": b"{}", **of_image}, {"A": "1"})
    names = sorted(name for name in found if name.startswith("managed-settings.d/"))
    assert json.loads(found[names[-1]]) == {"env": {"A": "1"}}
    assert found["managed-settings.json"] == b"{}"
    assert all(name.isascii() and "~" not in name for name in found)


def test_the_images_own_stay_where_no_policy_says_anything() -> None:
    assert managed.files({"CLAUDE.md": b"Be brief."}, {}) == {"CLAUDE.md": b"Be brief."}
