"""What the operator asks of a cluster: the same checks face the fake one and a real API server."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from lightkube import AsyncClient
from lightkube.types import PatchType

from stromboli.errors import ClusterUnavailable, Conflict, Oversized, Rejected
from stromboli.kube import client
from stromboli.kube.kinds import AgentRun
from stromboli.kube.outline import MAX_SPEC
from stromboli.kube.plain import PAGE
from stromboli.models.agentsession import AgentSessionSpec
from stromboli.models.run import RunStatus
from stromboli.models.session import SessionStatus
from tests.contract.cluster.conftest import ROOT, SPEC, Bed, Real
from tests.support.cluster import Kubectl
from tests.support.fake_cluster import MAX_OBJECT
from tests.support.waiting import eventually

run_status, session_status = RunStatus.of, SessionStatus.of


async def test_a_status_is_written_as_of_the_version_that_was_read(bed: Bed) -> None:
    old = bed.run("a")
    new = await bed.cluster.write_status(old, run_status({"phase": "Pending", "node": "n"}))
    assert new.status.wire == {"phase": "Pending", "node": "n"}
    assert new.version != old.version
    assert new.spec == SPEC
    with pytest.raises(Conflict):
        await bed.cluster.write_status(old, run_status({"phase": "Running"}))
    found = await bed.cluster.run(bed.space, "a")
    assert found is not None
    assert found.status.wire == {"phase": "Pending", "node": "n"}


async def test_a_status_that_changes_nothing_makes_no_new_version(bed: Bed) -> None:
    written = await bed.cluster.write_status(bed.run("a"), run_status({"phase": "Pending"}))
    again = await bed.cluster.write_status(written, run_status({"phase": "Pending"}))
    assert again.version == written.version


async def test_a_status_replaces_the_one_before_and_leaves_the_spec(bed: Bed) -> None:
    first = await bed.cluster.write_status(bed.run("a"), run_status({"phase": "Pending", "node": "n"}))
    forged = replace(first, spec={"prompt": "another", "image": "node:20"})
    await bed.cluster.write_status(forged, run_status({"phase": "Running"}))
    second = await bed.cluster.run(bed.space, "a")
    assert second is not None
    assert second.status.wire == {"phase": "Running"}
    assert second.spec == SPEC


async def test_a_run_that_is_gone_cannot_be_written(bed: Bed) -> None:
    old = bed.run("a")
    bed.delete("a")
    with pytest.raises(Conflict):
        await bed.cluster.write_status(old, run_status({"phase": "Pending"}))
    assert await bed.cluster.run(bed.space, "a") is None


async def test_a_finished_run_is_deleted_if_it_is_as_it_was_read(bed: Bed) -> None:
    old = bed.run("a")
    bed.annotate("a")
    with pytest.raises(Conflict):
        await bed.cluster.delete_finished_run(bed.space, "a", old.uid, old.version)
    found = await bed.cluster.run(bed.space, "a")
    assert found is not None
    with pytest.raises(Conflict):
        await bed.cluster.delete_finished_run(bed.space, "a", str(uuid.uuid4()), found.version)
    await bed.cluster.delete_finished_run(bed.space, "a", found.uid, found.version)
    assert await bed.cluster.run(bed.space, "a") is None
    with pytest.raises(Conflict):
        await bed.cluster.delete_finished_run(bed.space, "a", found.uid, found.version)


async def test_another_run_of_the_same_name_cannot_be_written(bed: Bed) -> None:
    old = bed.run("a")
    bed.delete("a")
    new = bed.run("a")
    mixed = replace(old, version=new.version)
    with pytest.raises(Conflict):
        await bed.cluster.write_status(mixed, run_status({"phase": "Pending"}))


@pytest.mark.parametrize(
    "status",
    [
        {"phase": 5},
        {"result": {"structured": "\ud800"}},
        {"result": {"structured": "x" * 4_000_000}},
    ],
    ids=["of-another-type", "no-character", "too-large"],
)
async def test_what_can_never_be_written_is_told_from_what_may_be_later(bed: Bed, status: dict[str, Any]) -> None:
    old = bed.run("a")
    with pytest.raises(Rejected):
        await bed.cluster.write_status(old, run_status(status))


async def test_a_number_that_json_has_not_is_null(bed: Bed) -> None:
    written = await bed.cluster.write_status(bed.run("a"), run_status({"result": {"structured": {"a": float("inf")}}}))
    assert written.status.wire["result"]["structured"] == {"a": None}


async def test_runs_are_listed_whole(bed: Bed) -> None:
    made = {bed.run(name).uid for name in ("a", "b", "c")}
    listed = [obj async for obj in bed.cluster.runs()]
    assert {obj.uid for obj in listed} == made
    assert {obj.KIND for obj in listed} == {"AgentRun"}


async def test_policies_and_labels_are_read(bed: Bed) -> None:
    assert await bed.cluster.policies() == []
    bed.policy("p")
    bed.label("team", "a")
    assert [p.spec for p in await bed.cluster.policies()] == [{"network": "none"}]
    assert (await bed.cluster.namespace_labels(bed.space))["team"] == "a"
    assert await bed.cluster.namespace_labels("nowhere") == {}
    assert [await bed.cluster.has_namespace(name) for name in (bed.space, "nowhere")] == [True, False]


async def test_a_policys_status_is_written_as_of_the_version_that_was_read(bed: Bed) -> None:
    bed.policy("p")
    [read] = await bed.cluster.policies()
    assert read.status.wire == {"observedGeneration": -1}
    written = await bed.cluster.write_status(read, run_status({"observedGeneration": 1, "conditions": []}))
    assert (written.spec, written.status.wire["observedGeneration"]) == ({"network": "none"}, 1)
    assert written.generation == read.generation == 1
    with pytest.raises(Conflict):
        await bed.cluster.write_status(read, run_status({"observedGeneration": 2}))
    assert [p.status.wire for p in await bed.cluster.policies()] == [written.status.wire]


async def test_a_secret_or_config_map_that_is_not_there_is_none(bed: Bed) -> None:
    assert await bed.cluster.secret_data(bed.space, "s") is None
    assert await bed.cluster.config_map_data(bed.space, "c") is None
    bed.secret("s", {"k": b"v"})
    bed.config_map("c", {"k": b"text", "b": b"\xff\xfe"})
    assert await bed.cluster.secret_data(bed.space, "s") == {"k": b"v"}
    assert await bed.cluster.config_map_data(bed.space, "c") == {"k": b"text", "b": b"\xff\xfe"}


async def test_an_event_told_twice_is_one(bed: Bed) -> None:
    event = {
        "metadata": {"name": "stromboli.1", "namespace": bed.space},
        "involvedObject": {"kind": "AgentRun", "namespace": bed.space, "name": "a"},
        "reason": "Started",
        "message": "m",
        "type": "Normal",
    }
    await bed.cluster.post_event(event)
    await bed.cluster.post_event({**event, "message": "another"})
    assert [e["message"] for e in bed.events()] == ["m"]
    await bed.cluster.post_event({**event, "metadata": {"name": "stromboli.1", "namespace": "nowhere"}})


async def test_a_server_that_does_not_answer_is_never_an_answer(bed: Bed) -> None:
    obj, gone = bed.run("a"), bed.unreachable()
    for call in (
        lambda: gone.installation(),
        lambda: gone.run(bed.space, "a"),
        lambda: gone.policies(),
        lambda: gone.session(bed.space, "s"),
        lambda: gone.session_outline(bed.space, "s"),
        lambda: gone.run_heads(bed.space, "s"),
        lambda: gone.create_session(bed.space, "s", AgentSessionSpec()),
        lambda: gone.serves_its_kinds(),
        lambda: gone.namespace_labels(bed.space),
        lambda: gone.has_namespace(bed.space),
        lambda: gone.secret_data(bed.space, "s"),
        lambda: gone.config_map_data(bed.space, "c"),
        lambda: gone.write_status(obj, run_status({"phase": "Pending"})),
        lambda: gone.delete_finished_run(bed.space, "a", obj.uid, obj.version),
    ):
        with pytest.raises(ClusterUnavailable):
            await call()
    with pytest.raises(ClusterUnavailable):
        _ = [obj async for obj in gone.runs()]
    with pytest.raises(ClusterUnavailable):
        _ = [obj async for obj in gone.sessions()]
    with pytest.raises(ClusterUnavailable):
        async with gone.whole_run(bed.space, "a"):
            pass


def _is_not_served(admin: Kubectl, kind: str) -> bool:
    return admin.attempt("get", "--raw", f"/apis/stromboli.dev/v1alpha1/{kind}").returncode != 0


async def test_a_kind_that_is_not_served_is_unknown_and_not_empty(real: Real, admin: Kubectl) -> None:
    admin("delete", "crd", "agentruns.stromboli.dev", "agentpolicies.stromboli.dev")
    try:
        for kind in ("agentruns", "agentpolicies"):  # the API server goes on serving them for a moment, empty
            eventually(partial(_is_not_served, admin, kind), f"{kind} are away", lambda: "served")
        with pytest.raises(ClusterUnavailable):
            _ = [obj async for obj in real.cluster.runs()]
        with pytest.raises(ClusterUnavailable):
            await real.cluster.policies()
        with pytest.raises(ClusterUnavailable, match=r"does not list|not found|404"):
            await real.cluster.serves_its_kinds()
    finally:
        admin("apply", "--server-side", "-f", str(ROOT / "crds"))
        admin("wait", "--for=condition=Established", "--timeout=20s", "-f", str(ROOT / "crds"))


async def test_its_kinds_are_served_once_discovery_tells_of_them(bed: Bed) -> None:
    async with asyncio.timeout(20):  # discovery lags behind the kinds themselves
        while True:
            try:
                return await bed.cluster.serves_its_kinds()
            except ClusterUnavailable:
                await asyncio.sleep(0.1)


async def test_a_session_is_made_once_and_written_as_of_the_version_that_was_read(bed: Bed) -> None:
    assert await bed.cluster.session(bed.space, "s") is None
    parent = {"name": "a", "uid": str(uuid.uuid4())}
    spec = {"template": {"image": "python:3.12"}, "forkedFrom": parent, "ttlAfterLastUse": "1h"}
    made = await bed.cluster.create_session(bed.space, "s", AgentSessionSpec.model_validate(spec))
    assert made.spec["forkedFrom"] == parent
    with pytest.raises(Conflict):
        await bed.cluster.create_session(bed.space, "s", AgentSessionSpec())
    written = await bed.cluster.write_status(made, session_status({"runs": 1, "currentRun": {"name": "r", "uid": "u"}}))
    with pytest.raises(Conflict):
        await bed.cluster.write_status(made, session_status({"runs": 2}))
    filled = await bed.cluster.write_spec(written, {**written.spec, "title": "t"})
    found = await bed.cluster.session(bed.space, "s")
    assert found is not None
    assert found.version == filled.version
    assert (found.spec["title"], found.status.wire["currentRun"]) == ("t", {"name": "r", "uid": "u"})
    outline = await bed.cluster.session_outline(bed.space, "s")
    assert outline is not None
    assert outline.spec == {"forkedFrom": parent, "ttlAfterLastUse": "1h"}
    assert outline.status.wire == found.status.wire
    assert [s async for s in bed.cluster.sessions()] == [outline]
    freed = await bed.cluster.write_status(found, session_status({"runs": 1}))
    assert "currentRun" not in freed.status.wire, "what a status leaves out is gone"
    await bed.cluster.delete_session(bed.space, "s")
    await bed.cluster.delete_session(bed.space, "s")
    assert await bed.cluster.session(bed.space, "s") is None


async def test_the_runs_that_want_a_session(bed: Bed) -> None:
    made = {
        bed.run("in-it", session={"name": "s"}).uid,
        bed.run("copies-it", session={"name": "t", "fork": "s"}).uid,
    }
    bed.run("in-another", session={"name": "other"})
    bed.run("has-its-own")
    found = await bed.cluster.run_heads(bed.space, "s")
    assert {head.uid for head in found} == made
    assert {head.name for head in found} == {"copies-it", "in-it"}
    assert all(head.version and head.created for head in found)
    assert await bed.cluster.run_heads(bed.space, "nobodys") == []


# --- what is large ---


async def test_of_a_large_run_all_is_there_only_for_the_asking(bed: Bed) -> None:
    prompt = "x" * 200_000
    bed.run("large", prompt=prompt, session={"name": "s"}, timeout="5m")
    seen = await bed.cluster.run(bed.space, "large")
    assert seen is not None
    assert seen.spec == {"session": {"name": "s"}, "timeout": "5m"}
    assert [obj.spec async for obj in bed.cluster.runs()] == [seen.spec]
    async with bed.cluster.whole_run(bed.space, "large") as whole:
        assert whole is not None
        assert whole.spec["prompt"] == prompt
        assert (whole.uid, whole.version) == (seen.uid, seen.version)
    written = await bed.cluster.write_status(seen, run_status({"phase": "Pending"}))
    assert written.spec == seen.spec
    async with bed.cluster.whole_run(bed.space, "large") as whole:
        assert whole is not None
        assert (whole.spec["prompt"], whole.status.wire) == (prompt, {"phase": "Pending"}), (
            "the outline replaces nothing"
        )
    async with bed.cluster.whole_run(bed.space, "nowhere") as nothing:
        assert nothing is None


async def test_of_a_run_that_has_ended_a_list_has_only_the_conditions(bed: Bed) -> None:
    condition = {"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z", "reason": "R"}
    status = {"conditions": [condition], "result": {"text": "long"}, "completionTime": "2026-01-31T12:00:00Z"}
    await bed.cluster.write_status(bed.run("a"), run_status(status))
    [seen] = [obj async for obj in bed.cluster.runs()]
    assert set(seen.status.wire) == {"conditions", "completionTime"}
    assert seen.status.wire["conditions"][0]["status"] == "True"


async def test_of_a_run_that_has_ended_the_attempts_are_there_for_whoever_reads_its_output(bed: Bed) -> None:
    condition = {"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z", "reason": "R"}
    attempt = {"number": 2, "container": "c", "bootID": "b", "timeout": "5m", "startedAt": "2026-01-31T12:00:00Z"}
    status = {"conditions": [condition], "node": "n", "attempts": [attempt], "completionTime": "2026-01-31T12:00:00Z"}
    await bed.cluster.write_status(
        bed.run("large", prompt="x" * 200_000), run_status({**status, "result": {"text": "long"}})
    )
    found = await bed.cluster.followed_run(bed.space, "large")
    assert found is not None
    assert found.status.is_finished
    assert ([a.number for a in found.status.attempts], found.status.node) == ([2], "n")
    assert set(found.status.wire) == set(status)
    assert "prompt" not in found.spec
    assert await bed.cluster.followed_run(bed.space, "nowhere") is None


async def test_of_a_run_that_has_ended_its_notification_is_written_and_nothing_else(bed: Bed) -> None:
    condition = {"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-01-31T12:00:00Z", "reason": "R"}
    attempt = {"number": 1, "container": "c", "bootID": "b", "exitCode": 137}
    result = {"text": "long", "structured": {"a": None, "b": [1.5, "x" * 40_000]}}
    status = {
        "conditions": [condition],
        "attempts": [attempt],
        "result": result,
        "completionTime": "2026-01-31T12:00:00Z",
    }
    ended = await bed.cluster.write_status(bed.run("a", notify={"url": "https://example.com"}), run_status(status))
    read = await bed.cluster.answered_run(bed.space, "a")
    assert read is not None
    assert (read.status.answer, read.status.attempts[0].exit_code, read.version) == ("long", 137, ended.version)
    assert read.status.wire["result"] == {"text": "long"}
    assert read.notify == {"url": "https://example.com"}
    assert await bed.cluster.answered_run(bed.space, "nowhere") is None
    told = {"attempts": 1, "lastError": "no", "nextAttemptTime": "2026-01-31T12:00:10Z"}
    bed.annotate("a")
    first = await bed.cluster.write_notification(read, told)
    assert first.version != read.version
    assert first.status.wire == {**read.status.wire, "notification": told}
    with pytest.raises(Conflict):
        await bed.cluster.write_notification(read, {"attempts": 1})
    await bed.cluster.write_notification(first, {"attempts": 2, "deliveryTime": "2026-01-31T12:00:10Z"})
    async with bed.cluster.whole_run(bed.space, "a") as found:
        assert found is not None
        kept = {key: value for key, value in found.status.wire.items() if key in status}
        assert {**kept, "conditions": [condition]} == {**ended.status.wire, "conditions": [condition]}
        assert found.status.wire["notification"] == {"attempts": 2, "deliveryTime": "2026-01-31T12:00:10Z"}
    bed.delete("a")
    with pytest.raises(Conflict):
        await bed.cluster.write_notification(first, told)
    another = replace(first, version=bed.run("a").version)
    with pytest.raises(Conflict):
        await bed.cluster.write_notification(another, told)


async def test_a_notification_for_which_an_object_has_no_room_is_rejected(bed: Bed) -> None:
    room = MAX_OBJECT - 1_200
    full = run_status({"result": {"structured": "x" * room}, "completionTime": "2026-01-31T12:00:00Z"})
    ended = await bed.cluster.write_status(bed.run("a"), full)
    with pytest.raises(Rejected):
        await bed.cluster.write_notification(ended, {"attempts": 1, "lastError": "x" * 1024})


async def test_a_list_has_all_its_pages(bed: Bed) -> None:
    made = {bed.run(f"r{n}").uid for n in range(PAGE + 2)}
    assert {obj.uid async for obj in bed.cluster.runs()} == made


async def test_a_spec_that_leaves_its_status_no_room(bed: Bed) -> None:
    bed.run("just-fits", claude={"settings": {"a": "x" * (MAX_SPEC - 100)}})
    bed.run("over", claude={"settings": {"a": "x" * MAX_SPEC}})
    async with bed.cluster.whole_run(bed.space, "just-fits") as whole:
        assert whole is not None
    with pytest.raises(Oversized, match="leave room for a status"):
        async with bed.cluster.whole_run(bed.space, "over"):
            pass
    over = await bed.cluster.run(bed.space, "over")
    assert over is not None
    with pytest.raises(Rejected, match=r"too large|larger than max"):
        await bed.cluster.write_status(
            over, run_status({"result": {"text": "", "structured": "x" * (MAX_OBJECT - MAX_SPEC)}})
        )


@pytest.mark.parametrize("name", ["./x", "..", "?limit=1/x", "a\nb", "x" * 300, "", "a/b", "%2e%2e", "A"])
async def test_what_can_be_no_name_is_the_name_of_nothing(bed: Bed, name: str) -> None:
    """Whoever wrote it, it becomes no other path."""
    cluster, space = bed.cluster, bed.space
    bed.run("a")
    assert await cluster.run(space, name) is None
    assert await cluster.run(name, "a") is None
    assert await cluster.session(space, name) is None
    assert await cluster.session_outline(space, name) is None
    assert await cluster.secret_data(space, name) is None
    assert await cluster.config_map_data(name, "c") is None
    assert await cluster.namespace_labels(name) == {}
    assert not await cluster.has_namespace(name)


# --- others who write ---


async def test_a_change_of_metadata_does_not_keep_a_status_from_being_written(bed: Bed) -> None:
    old = bed.run("a")
    bed.annotate("a")
    written = await bed.cluster.write_status(old, run_status({"phase": "Pending"}))
    found = await bed.cluster.run(bed.space, "a")
    assert found is not None
    assert found.status.wire == {"phase": "Pending"}
    assert found.version == written.version
    bed.annotate("a")
    await bed.cluster.write_status(written, run_status({"phase": "Running"}))


async def test_a_write_that_lost_to_metadata_too_often_is_compared_by_the_server(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TRIES", 0)
    old = bed.run("a")
    bed.annotate("a")
    first = await bed.cluster.write_status(old, run_status({"phase": "Pending", "message": None}))
    assert first.status.wire == {"phase": "Pending", "message": None}
    with pytest.raises(Conflict):
        await bed.cluster.write_status(old, run_status({"phase": "Running"}))
    found = await bed.cluster.run(bed.space, "a")
    assert found is not None
    bed.annotate("a")
    second = await bed.cluster.write_status(found, run_status({"phase": "Running"}))
    found = await bed.cluster.run(bed.space, "a")
    assert found is not None
    assert (found.status.wire, found.version) == ({"phase": "Running"}, second.version)
    assert found.spec == {**SPEC}
    bed.delete("a")
    with pytest.raises(Conflict):
        await bed.cluster.write_status(found, run_status({"phase": "Failed"}))


async def test_so_it_is_with_a_session(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRIES", 0)
    made = await bed.cluster.create_session(bed.space, "s", AgentSessionSpec(ttl_after_last_use="1h"))
    written = await bed.cluster.write_status(made, session_status({"runs": 1}))
    with pytest.raises(Conflict):
        await bed.cluster.write_status(made, session_status({"runs": 2}))
    filled = await bed.cluster.write_spec(written, {"ttlAfterLastUse": "1h", "title": "t"})
    with pytest.raises(Conflict):
        await bed.cluster.write_status(written, session_status({"runs": 2}))
    found = await bed.cluster.session(bed.space, "s")
    assert found is not None
    assert (found.spec["title"], found.status.wire) == ("t", {"runs": 1})
    assert found.version == filled.version
    await bed.cluster.delete_session(bed.space, "s")


async def test_a_status_is_written_while_many_patch_the_metadata_all_the_time(real: Real) -> None:
    obj, patches, over = real.run("a"), 0, False
    other = AsyncClient()

    async def patch() -> None:
        nonlocal patches
        while not over:
            body = {"metadata": {"labels": {"n": str(patches)}}}
            await other.patch(AgentRun, "a", body, namespace=real.space, patch_type=PatchType.MERGE)
            patches += 1

    async with asyncio.TaskGroup() as patching:
        for _ in range(4):
            patching.create_task(patch())
        try:
            for phase in ("Pending", "Running", "Succeeded"):
                obj = await real.cluster.write_status(obj, run_status({"phase": phase}))
        finally:
            over = True
    await other.close()
    found = await real.cluster.run(real.space, "a")
    assert found is not None
    assert found.status.wire == {"phase": "Succeeded"}
    assert patches > 2, "somebody was at it all the while"
