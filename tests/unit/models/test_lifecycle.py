"""`lifecycle` as a typed field: what is taken word for word, what is refused and by which sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stromboli.models.lifecycle import HOOKS, INIT_HOOKS, Lifecycle


def _lifecycle(**fields: Any) -> Lifecycle:
    return Lifecycle.model_validate(fields)


def test_the_commands_come_in_the_order_in_which_hooks_run() -> None:
    found = _lifecycle(postStart=["c"], postCreate=["b"], onCreateCommand=["a1", "a2"]).commands()
    assert list(found.items()) == [("onCreateCommand", ("a1", "a2")), ("postCreate", ("b",)), ("postStart", ("c",))]


def test_hooks_that_are_not_given_have_no_commands() -> None:
    assert _lifecycle(postCreate=[]).commands() == dict.fromkeys(HOOKS, ())


def test_the_names_of_development_containers_are_other_names() -> None:
    theirs = _lifecycle(
        postStartCommand=["c"], postCreateCommand=["b"], updateContentCommand=["a2"], onCreateCommand=["a1"]
    )
    assert theirs == _lifecycle(onCreateCommand=["a1", "a2"], postCreate=["b"], postStart=["c"])
    assert theirs.model_dump(by_alias=True, exclude_none=True).keys() == {"onCreateCommand", "postCreate", "postStart"}
    assert _lifecycle(updateContentCommand=["a"]) == _lifecycle(onCreateCommand=["a"])
    assert _lifecycle(postCreate=[], postCreateCommand=["b"]) == _lifecycle(postCreate=["b"], postCreateCommand=[])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"postCreate": ["a"], "postCreateCommand": ["a"]},
            "postCreateCommand is another name of postCreate",
        ),
        ({"postStart": ["a"], "postStartCommand": ["b"]}, "postStartCommand is another name of postStart; give one"),
        ({"postStartCommand": [" "]}, "is blank"),
        ({"updateContentCommand": "npm ci"}, "Input should be a valid list"),
        ({"onCreateCommand": ["true"] * 20, "updateContentCommand": ["true"] * 20}, "at most 32 items"),
    ],
)
def test_other_names_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _lifecycle(**given)


def test_the_hooks_of_the_beginning() -> None:
    assert INIT_HOOKS == ("onCreateCommand", "postCreate")


@pytest.mark.parametrize("text", ["'\"$HOME; `id` \\", "a\nb\n", "  żółw 🐢 ", "x" * 8192, "\u00a0"])
def test_a_command_is_taken_word_for_word(text: str) -> None:
    assert _lifecycle(postStart=[text]).commands()["postStart"] == (text,)


def test_thirty_two_of_a_kind_are_taken() -> None:
    assert len(_lifecycle(postStart=["true"] * 32).commands()["postStart"]) == 32


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ([""], "at least 1 character"),
        ([" \t\n\r\f\v"], "is blank; write a shell command, or leave the entry out"),
        (["x" * 8193], "at most 8192 characters"),
        (["a\0b"], "NUL"),
        (["true"] * 33, "at most 32 items"),
        ("true", "valid list"),
    ],
)
def test_what_is_no_command_is_refused(kind: str, commands: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _lifecycle(**{kind: commands})


def test_an_unknown_hook_is_refused() -> None:
    with pytest.raises(ValidationError, match="postAttach"):
        _lifecycle(postAttach=["true"])
