"""httpapi/shapes/runquery.py: a request to run in a query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes.run import RunRequest
from stromboli.httpapi.shapes.runquery import parameters, parse_query

NAMES = [each["name"] for each in parameters()]


def refused(pairs: list[tuple[str, str]]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_query(pairs)
    assert caught.value.status == 400
    return caught.value


def test_what_both_clients_send() -> None:
    found = parse_query([("prompt", "x y"), ("workdir", "/w"), ("session_id", "s")])
    assert found == RunRequest.model_validate({"prompt": "x y", "workdir": "/w", "claude": {"session_id": "s"}})


def test_every_kind_of_parameter() -> None:
    pairs = [("prompt", "x"), ("resume", "true"), ("continue", "0"), ("max_turns", "3"), ("max_budget_usd", "2.5")]
    pairs += [("tools", "Bash"), ("tools", "Read"), ("image", "a"), ("volumes", "/a:/b"), ("cpu_shares", "2")]
    pairs += [("model", ""), ("verbose", "")]
    assert parse_query(pairs).model_dump(exclude_defaults=True, by_alias=True) == {
        "prompt": "x",
        "claude": {"resume": True, "max_turns": 3, "max_budget_usd": 2.5, "tools": ["Bash", "Read"]},
        "podman": {"image": "a", "volumes": ["/a:/b"], "cpu_shares": 2},
    }


def test_a_whole_number_is_an_amount_too() -> None:
    assert parse_query([("prompt", "x"), ("max_budget_usd", "2")]).claude.max_budget_usd == 2


@pytest.mark.parametrize(
    ("pairs", "field", "why"),
    [
        ([], "prompt", "is missing"),
        ([("prompt", "")], "prompt", "is empty"),
        ([("promt", "x")], "promt", "did you mean prompt?"),
        ([("prompt", "x"), ("zzz", "1")], "zzz", "POST /run/stream has all fields"),
        ([("prompt", "x"), ("prompt", "x")], "prompt", "is given twice"),
        ([("prompt", "x"), ("resume", "yes")], "resume", "is neither true nor false"),
        ([("prompt", "x"), ("max_turns", "1.5")], "max_turns", "is not a number"),
        ([("prompt", "x"), ("max_turns", "-1")], "claude.max_turns", "is below zero"),
        ([("prompt", "x"), ("max_budget_usd", "nan")], "max_budget_usd", "is not a number"),
        ([("prompt", "x"), ("lifecycle", "{}")], "lifecycle", "POST /run/stream has all fields"),
        ([("prompt", "x"), ("webhook_url", "https://a")], "webhook_url", "is no parameter of this call"),
        ([("prompt", "\udcff")], "prompt", "has half of a surrogate pair"),
        ([("prompt", "x"), ("workdir", "/a"), ("workspace", "/b")], "workspace", "is an older name of workdir"),
    ],
)
def test_what_is_refused_names_its_parameter(pairs: list[tuple[str, str]], field: str, why: str) -> None:
    problem = refused(pairs)
    assert problem.details == {"field": field}
    assert problem.error.startswith(f"{field}: ")
    assert why in problem.error


@given(st.lists(st.tuples(st.sampled_from([*NAMES, "agents", "x"]), st.text(max_size=6)), max_size=6))
def test_whatever_a_query_is_it_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        found = parse_query(pairs)
    except Refusal:
        field = refused(pairs).details["field"].split(".")[-1].split("[")[0]
        assert field == "prompt" or field in dict(pairs)
    else:
        assert found.prompt == dict(pairs)["prompt"]


def test_openapi_describes_each() -> None:
    listed = {each["name"]: each for each in parameters()}
    assert len(listed) == len(NAMES)
    assert listed["prompt"]["required"]
    assert listed["tools"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert all(each["description"] for each in listed.values())
