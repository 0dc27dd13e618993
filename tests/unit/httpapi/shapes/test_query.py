"""httpapi/shapes/query.py: a request to run in a query string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes import query
from stromboli.httpapi.shapes.run import RunRequest


def refused(*pairs: tuple[str, str], others: tuple[str, ...] = ()) -> Refusal:
    with pytest.raises(Refusal) as caught:
        query.parse(pairs, others)
    assert caught.value.status == 400
    return caught.value


def test_what_both_clients_send() -> None:
    found = query.parse([("prompt", "x y"), ("workdir", "/w"), ("session_id", "s")])
    assert found == RunRequest.model_validate({"prompt": "x y", "workdir": "/w", "claude": {"session_id": "s"}})


def test_every_kind_of_parameter() -> None:
    pairs = [("prompt", "x"), ("resume", "true"), ("continue", "0"), ("max_turns", "3"), ("max_budget_usd", "2.5")]
    pairs += [("tools", "Bash"), ("tools", "Read"), ("image", "a"), ("volumes", "/a:/b"), ("cpu_shares", "2")]
    pairs += [("model", ""), ("verbose", "")]
    assert query.parse(pairs).model_dump(exclude_defaults=True, by_alias=True) == {
        "prompt": "x",
        "claude": {"resume": True, "max_turns": 3, "max_budget_usd": 2.5, "tools": ["Bash", "Read"]},
        "podman": {"image": "a", "volumes": ["/a:/b"], "cpu_shares": 2},
    }


def test_a_whole_number_is_an_amount_too() -> None:
    assert query.parse([("prompt", "x"), ("max_budget_usd", "2")]).claude.max_budget_usd == 2


def test_parameters_of_the_call_itself() -> None:
    assert query.parse([("cancel_on_disconnect", "true"), ("prompt", "x")], ["cancel_on_disconnect"]).prompt == "x"


@pytest.mark.parametrize(
    ("pairs", "field", "why"),
    [
        ([], "prompt", "is missing"),
        ([("prompt", "")], "prompt", "is empty"),
        ([("promt", "x")], "promt", "did you mean prompt?"),
        ([("prompt", "x"), ("cancel_on_disconect", "1")], "cancel_on_disconect", "did you mean cancel_on_disconnect?"),
        ([("prompt", "x"), ("zzz", "1")], "zzz", "take it out"),
        ([("prompt", "x"), ("prompt", "x")], "prompt", "is given twice"),
        ([("prompt", "x"), ("resume", "yes")], "resume", "must be true or false"),
        ([("prompt", "x"), ("max_turns", "1.5")], "max_turns", "must be a whole number"),
        ([("prompt", "x"), ("max_turns", "-1")], "max_turns", "is below zero"),
        ([("prompt", "x"), ("max_turns", "٣")], "max_turns", "must be a whole number"),
        ([("prompt", "x"), ("max_budget_usd", "nan")], "max_budget_usd", "must be a number"),
        ([("prompt", "x"), ("max_budget_usd", "1e9")], "max_budget_usd", "must be a number"),
        ([("prompt", "x"), ("agents", "{}")], "agents", "send it with POST /run/stream"),
        ([("prompt", "x"), ("lifecycle", "{}")], "lifecycle", "send it with POST /run/stream"),
        ([("prompt", "x"), ("webhook_url", "https://a")], "webhook_url", "is no parameter of this call"),
        ([("prompt", "\udcff")], "prompt", "has half of a surrogate pair"),
        ([("prompt", "x"), ("workdir", "/a"), ("workspace", "/b")], "workspace", "is an older name of workdir"),
    ],
)
def test_what_is_refused_names_its_parameter(pairs: list[tuple[str, str]], field: str, why: str) -> None:
    problem = refused(*pairs, others=("cancel_on_disconnect",))
    assert problem.details == {"field": field}
    assert problem.error.startswith(f"{field}: ")
    assert why in problem.error


@given(st.lists(st.tuples(st.sampled_from([*query.PARAMETERS, "agents", "x"]), st.text(max_size=6)), max_size=6))
def test_whatever_a_query_is_it_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        found = query.parse(pairs)
    except Refusal:
        assert refused(*pairs).details["field"] in ["prompt", *dict(pairs), *(f"{n}[0]" for n, _ in pairs)]
    else:
        assert found.prompt == dict(pairs)["prompt"]


def test_openapi_has_them_all() -> None:
    listed = {each["name"]: each for each in query.for_openapi()}
    assert set(listed) == set(query.PARAMETERS)
    assert listed["prompt"]["required"]
    assert listed["tools"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert all(each["description"] for each in listed.values())
