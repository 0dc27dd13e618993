"""What is passed on, and as what."""

from __future__ import annotations

import json

import pytest

from stromboli.api.errors import Declined
from stromboli.gateway import discovery, routes
from stromboli.gateway.operations import Place
from stromboli.naming import AGENTS_API

RUN = "namespaces/team/agentruns/fix.it/log"


def test_what_is_passed_on_is_built_from_what_was_understood() -> None:
    query = [("offset", "5"), ("step", "postStart[0]"), ("follow", "true"), ("timeout", "32s"), ("pretty", "true")]
    asked = routes.asked(RUN, query)
    assert asked is not None
    assert (asked.place, asked.namespace, asked.name) == (Place.RUN, "team", "fix.it")
    assert asked.onward == f"{AGENTS_API}/{RUN}?offset=5&step=postStart%5B0%5D&follow=true"
    assert asked.follows


@pytest.mark.parametrize(
    ("path", "place", "namespace", "name"),
    [
        ("namespaces/team/agentsessions/s/messages", Place.SESSION, "team", "s"),
        ("namespaces/team/images", Place.ANY, "team", ""),
        ("namespaces/team/images/inspect", Place.ANY, "team", ""),
        ("namespaces/team/images/search", Place.ANY, "team", ""),
        ("images", Place.ANY, "", ""),
    ],
)
def test_each_path(path: str, place: Place, namespace: str, name: str) -> None:
    asked = routes.asked(path, [])
    assert asked is not None
    assert (asked.place, asked.namespace, asked.name) == (place, namespace, name)
    assert asked.onward == f"{AGENTS_API}/{path}"
    assert not asked.follows


def test_the_node_is_for_the_gateway_alone() -> None:
    asked = routes.asked("images", [("node", "one"), ("namespace", "a b&c")])
    assert asked is not None
    assert asked.parameter("node") == "one"
    assert asked.onward == f"{AGENTS_API}/images?namespace=a%20b%26c"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "namespaces",
        "namespaces/team",
        "namespaces/team/agentruns",
        "namespaces/team/agentruns/fix",
        "namespaces/team/agentruns/fix/log/more",
        "namespaces/team/agentruns/fix/exec",
        "namespaces/team/images/other",
        "images/inspect",
        "agentruns/log",
    ],
)
def test_no_other_path_is_known(path: str) -> None:
    assert routes.asked(path, []) is None


@pytest.mark.parametrize("name", ["..", "", "a b", "A", "a%2fb", "-a", "a" * 254, "ä"])
def test_a_name_that_is_none_is_not_passed_on(name: str) -> None:
    for path in (f"namespaces/{name}/images", f"namespaces/team/agentruns/{name}/log"):
        with pytest.raises(Declined) as refused:
            routes.asked(path, [])
        assert refused.value.status == 404
    with pytest.raises(Declined):
        routes.asked("namespaces/a.b/images", [])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("ofset", "1")], "the parameters are attempt, follow, limitBytes, offset"),
        ([("node", "one")], "there is no parameter 'node'"),
        ([("offset", "1"), ("offset", "2")], "is given twice"),
        ([("step", "x" * 8193)], "longer than 8192"),
    ],
)
def test_a_parameter_that_is_not_known_is_not_left_out_in_silence(query: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(Declined, match=words) as refused:
        routes.asked(RUN, query)
    assert refused.value.status == 400


def test_openapi_has_what_is_passed_on() -> None:
    paths = json.loads(discovery.pages("1.2.3")["/openapi/v2"].content)["paths"]
    described = {
        path.removeprefix(f"{AGENTS_API}/"): {p["name"] for p in said["get"]["parameters"] if p["in"] == "query"}
        for path, said in paths.items()
    }
    known = {}
    for form in routes._FORMS:
        names = iter(("{namespace}", "{name}"))
        known["/".join(next(names) if part == "*" else part for part in form.path)] = set(form.parameters)
    assert described == known
