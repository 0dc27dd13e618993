"""What is kept of objects in memory, however large they are."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from stromboli.kube import objects, outline
from stromboli.kube.reads import decoded
from stromboli.reasons import Reason
from tests.support.builders import Object, at, having, run


def encoded(obj: Any) -> bytes:
    return msgspec.json.encode(obj)


def listed(*items: Object, more: str | None = None) -> bytes:
    return encoded({"metadata": {"resourceVersion": "9", "continue": more}, "items": items})


def test_a_small_run_is_whole_but_for_its_metadata() -> None:
    obj = run(at(Reason.Running))
    obj["metadata"] |= {"annotations": {"a": "b"}, "labels": {"c": "d"}, "managedFields": [{"manager": "kubectl"}]}
    found = outline.small(encoded(obj))
    assert found == {**obj, "metadata": run()["metadata"]}
    assert objects.run(found).is_whole


def test_what_is_being_deleted_says_so() -> None:
    obj = run()
    obj["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert outline.of(encoded(obj))["metadata"]["deletionTimestamp"] == "2026-01-31T12:00:00Z"
    assert outline.head(encoded(obj)) == obj["metadata"]


@pytest.mark.parametrize("status", [None, {}])
def test_a_run_that_nobody_has_seen_has_no_status(status: Object | None) -> None:
    assert "status" not in outline.of(encoded(run() | {"status": status}))


def test_the_status_of_a_run_that_goes_on_is_kept_whole() -> None:
    obj = run(at(Reason.Running))
    obj["status"]["steps"] = [{"hook": "postStart", "tail": "x" * 100}]
    assert outline.of(encoded(obj))["status"] == obj["status"]


def test_of_a_run_that_has_ended_few_fields_are_kept() -> None:
    obj = run(at(Reason.Completed))
    obj["status"]["result"] = {"text": "x" * 100}
    found = outline.of(encoded(obj))["status"]
    assert set(found) == {"completionTime", "conditions", "node"}
    assert found["conditions"] == obj["status"]["conditions"]


@pytest.mark.parametrize("items", [[], None])
def test_an_empty_list(items: list[Object] | None) -> None:
    content = encoded({"metadata": {"resourceVersion": "1"}, "items": items})
    assert outline.page(content) == outline.heads(content) == outline.Page([], "")


def test_a_page_tells_of_the_next() -> None:
    assert outline.page(listed(run(), more="token")).more == "token"
    assert outline.heads(listed(run(), more="token")) == outline.Page([run()["metadata"]], "token")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"items":[{}],"metadata":{}}', b'{"items":5,"metadata":{}}'])
def test_what_is_no_list_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|truncated|Expected|missing"):
        outline.page(content)


def test_how_large_a_spec_is_and_what_it_costs() -> None:
    obj = run(having(claude={"jsonSchema": [[]] * 1000}))
    assert outline.spec_size(encoded(obj)) == len(encoded(obj["spec"]))
    assert outline.spec_size(b'{"metadata":{}}') == 0
    assert outline.cost(encoded(obj)) > 20 * len(encoded(obj)), "each value is an object"


def test_nothing_of_a_large_spec_is_made_into_objects() -> None:
    """A million empty lists are 3 MB of JSON, and more than 60 MB of objects."""
    content = listed(run(having(claude={"jsonSchema": [[]] * 1_000_000})))
    tracemalloc.start()
    try:
        outline.page(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


def test_what_is_too_deep_to_be_skipped_is_cut_and_then_skipped() -> None:
    deep = encoded(run(having(claude={"settings": "DEEP"}))).replace(b'"DEEP"', b"[" * 9_000 + b"]" * 9_000)
    with pytest.raises(RecursionError):
        outline.of(deep)
    assert decoded(outline.of, deep)["metadata"] == run()["metadata"]
    assert outline.whole(deep)["spec"]["claude"]["settings"] is not None
