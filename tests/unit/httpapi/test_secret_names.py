"""httpapi/secret_names.py: a name for every secret, and none for two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.httpapi.secret_names import is_name, secret_name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("github-token", "github-token"),
        ("a.b", "a.b"),
        ("GH_TOKEN", "gh-token-4fe0c99a"),
        ("gh_token", "gh-token-625d1327"),
        ("a.", "a-5ab640fa"),
    ],
)
def test_an_object_of_the_same_name_if_it_can_have_it(name: str, found: str) -> None:
    assert secret_name(name) == found


@given(st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}", fullmatch=True))
def test_every_name_of_podman_has_one(name: str) -> None:
    assert is_name(name)
    assert naming.is_object_name(secret_name(name))


def test_no_two_names_have_the_same() -> None:
    names = ["GH_TOKEN", "gh_token", "GH-TOKEN", "gh-token", "gh.token", "gh..token", "_", "-"]
    assert len({secret_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "_a", "-a", ".a", "a/b", "a b", "a\n", "ä", "a" * 254])
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)
