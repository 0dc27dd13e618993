"""Names of capabilities: the ways of writing one, and what is none."""

from __future__ import annotations

import re

import pytest

from stromboli.errors import InvalidInput
from stromboli.grammar import capability


@pytest.mark.parametrize("text", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin", "Cap_Net_Admin"])
def test_a_name_in_any_spelling_is_the_same(text: str) -> None:
    assert capability.parse(text) == "NET_ADMIN"
    assert re.fullmatch(capability.UPPER_CASE_RE2, text.upper())


def test_all_of_them_have_a_name_too() -> None:
    assert {capability.parse(text) for text in ("ALL", "all", "CAP_ALL")} == {capability.ALL}


@pytest.mark.parametrize(
    "text", ["", "CAP_", "NET-ADMIN", "NET_ADMIN ", "CAP_CAP_CHOWN", "NET_ADMINS", "\u017fYS_ADMIN", "1"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="write its name, such as NET_ADMIN") as refused:
        capability.parse(text)
    assert refused.value.message == capability.MEANT


def test_they_are_those_of_the_newest_kernel() -> None:
    assert len(set(capability.NAMES)) == 41, "CAP_LAST_CAP is CAP_CHECKPOINT_RESTORE, 40, since Linux 5.9"
