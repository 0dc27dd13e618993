"""The ends of runs are reported, whatever befalls the receiver, the operator and the cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stromboli.errors import ClusterUnavailable, Rejected
from stromboli.grammar import times
from stromboli.perform import expiry
from stromboli.perform.notifications.sending import Sender
from stromboli.plan import notify
from tests.support.fake_cluster import FakeCluster, Object
from tests.support.receivers import Receiver, serving
from tests.support.wire import is_finished
from tests.unit.reconcile.conftest import SPACE, Node, Roots, elsewhere, made_node, policy
from tests.unit.reconcile.faults import Killer

KEY = b"0123456789abcdef"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "FIRST", 0.01)
    monkeypatch.setattr(notify, "LONGEST", 0.05)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with serving(Receiver()) as made:
        yield made


@pytest.fixture
async def node(roots: Roots) -> AsyncIterator[Node]:
    async with made_node(roots) as made:
        allow(made, "127.0.0.0/8")
        made.cluster.secrets[SPACE, "hooks"] = {"key": KEY, "empty": b""}
        yield made


def allow(node: Node, *networks: str) -> None:
    node.cluster.all_policies[:] = [policy(notify={"allowedNetworks": list(networks)})]


def run(node: Node, hook: Receiver, name: str = "run", path: str = "/hook", **spec: Any) -> str:
    """Apply a run that is to be reported; its UID."""
    obj = node.run(name, **{"notify": {"url": hook.url(path)}, **spec})
    return str(obj["metadata"]["uid"])


def told(node: Node, name: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = node.status(name).get("notification") or {}
    return found


async def reported(node: Node, name: str = "run") -> dict[str, Any]:
    await node.until(lambda: "deliveryTime" in told(node, name), f"{name} is reported")
    return told(node, name)


async def tried(node: Node, many: int, name: str = "run") -> dict[str, Any]:
    await node.until(lambda: told(node, name).get("attempts", 0) >= many, f"{name} was tried {many} times")
    return told(node, name)


def events(node: Node, reason: str) -> list[str]:
    return [event["message"] for event in node.cluster.events.values() if event["reason"] == reason]


async def test_an_end_is_reported_once_and_signed(node: Node, hook: Receiver) -> None:
    signed = {"url": hook.url("/hook?token=s3cret"), "secretKeyRef": {"name": "hooks", "key": "key"}}
    async with node.process():
        uid = run(node, hook, notify=signed)
        said = await reported(node)
        await asyncio.sleep(0.1)  # in which nothing else is to happen
    (one,) = hook.received
    one.check(KEY)
    assert one.said == {"job_id": "run", "status": "completed", "output": "forty-two", "error": "", "session_id": ""}
    assert one.headers["x-stromboli-delivery"] == uid
    assert one.path == "/hook?token=s3cret"
    assert set(said) == {"attempts", "lastAttemptTime", "lastStatusCode", "deliveryTime"}
    assert (said["attempts"], said["lastStatusCode"]) == (1, 204)


async def test_what_is_final_of_a_status_is_not_touched_by_its_notification(node: Node, hook: Receiver) -> None:
    """Of a run that has ended, nothing changes but `status.notification`, however often that does."""
    hook.statuses = [500, 500, 200]
    seen: list[Object] = []

    def hear(how: str, obj: Object) -> None:
        if obj["kind"] == "AgentRun" and is_finished(obj.get("status") or {}):
            seen.append(obj["status"])

    async with node.cluster.watch(hear), node.process():
        run(node, hook)
        await reported(node)
    assert len(seen) == 4
    assert [status.pop("notification", {}).get("attempts", 0) for status in seen] == [0, 1, 2, 3]
    assert all(status == seen[0] for status in seen)
    assert seen[0]["result"]["text"] == "forty-two"


async def test_a_run_without_a_receiver_costs_no_write_more(node: Node) -> None:
    async with node.process():
        node.run()
        await node.finished()
        await asyncio.sleep(0.05)
    assert [write for write in node.cluster.writes if write.startswith("notification")] == []


async def test_failures_of_a_receiver_are_tried_again(node: Node, hook: Receiver) -> None:
    hook.statuses = [500, 429, 302, 404, 200]
    async with node.process():
        uid = run(node, hook)
        assert (await reported(node))["attempts"] == 5
    assert {one.headers["x-stromboli-delivery"] for one in hook.received} == {uid}
    assert len({one.body for one in hook.received}) == 1
    assert "lastError" not in told(node)


async def test_what_a_failure_leaves(node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "FIRST", 60.0)
    monkeypatch.setattr(notify, "LONGEST", 3600.0)
    hook.statuses = [500]
    async with node.process():
        run(node, hook, path="/hook?token=s3cret")
        said = await tried(node, 1)
    assert (said["lastStatusCode"], said["lastError"]) == (500, "the receiver answers with status 500")
    left = times.from_text(said["nextAttemptTime"]) - datetime.now(UTC)
    assert timedelta(seconds=50) < left < timedelta(seconds=72)
    assert "deliveryTime" not in said


async def test_a_receiver_that_is_down_is_found_when_it_is_up_again(node: Node) -> None:
    hook = Receiver()
    with serving(hook):
        port = hook.port
    async with node.process():
        run(node, hook)
        said = await tried(node, 3)
        assert said["lastError"] == f"http://127.0.0.1:{port} cannot be connected to: Connection refused"
        with serving(hook, port=port):
            await reported(node)
    assert len(hook.received) == 1


async def test_every_end_is_reported(node: Node, hook: Receiver) -> None:
    async with node.process():
        run(node, hook, "refused", image="Python")
        run(node, hook, "held", suspend=True)
        await node.until(lambda: bool(node.status("held")), "it is held")
        node.cluster.change_spec(SPACE, "held", cancel=True)
        for name in ("refused", "held"):
            await reported(node, name)
    said = {one.said["job_id"]: one.said for one in hook.received}
    assert (said["refused"]["status"], said["held"]["status"]) == ("failed", "cancelled")
    assert said["refused"]["error"].startswith("spec.image: ")
    assert said["held"]["output"] == ""


# --- where it may not go ---


async def test_an_address_is_refused_before_the_run_begins(node: Node, hook: Receiver) -> None:
    allow(node)
    async with node.process():
        run(node, hook)
        await node.reason("PolicyViolation")
    assert "127.0.0.1 is a loopback address, and AgentPolicy tests does not have it" in node.message()
    assert (node.prompts, hook.received) == ([], [])


async def test_a_name_is_refused_when_it_is_called_until_a_policy_allows_it(node: Node, hook: Receiver) -> None:
    allow(node)
    async with node.process():
        run(node, hook, notify={"url": hook.url("/hook?token=s3cret", host="localhost")})
        said = await tried(node, 2)
        assert said["lastError"].startswith(f"http://localhost:{hook.port} may not be called: ")
        assert said["lastError"].endswith("AgentPolicy tests does not have it in notify.allowedNetworks")
        assert "lastStatusCode" not in said
        assert hook.received == []
        await node.until(lambda: bool(events(node, "NotificationRefused")), "an event says so")
        assert len(events(node, "NotificationRefused")) == 1
        allow(node, "127.0.0.0/8", "::1/128")
        await reported(node)
    assert len(hook.received) == 1
    assert not [text for event in node.cluster.events.values() if "s3cret" in (text := event["message"])]


async def test_policies_that_contradict_each_other_allow_nothing(node: Node, hook: Receiver) -> None:
    hook.statuses = [500]
    async with node.process():
        run(node, hook)
        await tried(node, 1)
        for name, value in (("zz", "Never"), ("zzz", "Always")):
            node.cluster.all_policies.append({"metadata": {"name": name}, "spec": {"images": {"pullPolicy": value}}})
        await node.until(lambda: "policy" in told(node)["lastError"], "the policies are read")
        hook.statuses = [200]
        many = len(hook.received)
        said = await tried(node, told(node)["attempts"] + 2)
        assert said["lastError"].startswith(
            "no policy can say where it may go: AgentPolicy zz and AgentPolicy zzz set different values"
        )
        assert len(hook.received) == many
        del node.cluster.all_policies[1:]
        await reported(node)


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ({"name": "other", "key": "key"}, "the Secret other is not in namespace space"),
        ({"name": "hooks", "key": "other"}, "the Secret hooks has no key other"),
        ({"name": "hooks", "key": "empty"}, "the Secret hooks: the key empty is empty, and signs nothing"),
        ({"name": "hooks", "key": "empty", "optional": True}, "the Secret hooks: the key empty is empty"),
    ],
)
async def test_a_key_that_is_missing_sends_nothing_until_it_is_there(
    node: Node, hook: Receiver, ref: dict[str, Any], error: str
) -> None:
    async with node.process():
        run(node, hook, notify={"url": hook.url(), "secretKeyRef": ref})
        assert error in (await tried(node, 2))["lastError"]
        assert hook.received == []
        node.cluster.secrets[SPACE, ref["name"]] = {ref["key"]: KEY}
        await reported(node)
    hook.received[0].check(KEY)


@pytest.mark.parametrize("ref", [{"name": "other", "key": "key"}, {"name": "hooks", "key": "other"}])
async def test_an_optional_key_that_is_missing_signs_nothing(node: Node, hook: Receiver, ref: dict[str, Any]) -> None:
    async with node.process():
        run(node, hook, notify={"url": hook.url(), "secretKeyRef": {**ref, "optional": True}})
        await reported(node)
    assert "x-stromboli-signature" not in hook.received[0].headers


# --- whoever dies, and when ---


async def test_an_operator_that_starts_anew_goes_on(node: Node, hook: Receiver) -> None:
    hook.statuses = [500]
    async with node.process():
        uid = run(node, hook)
        await tried(node, 2)
    many = len(hook.received)
    hook.statuses = [200]
    async with node.process() as process:
        await process.sweep.begin()
        await reported(node)
    assert {one.headers["x-stromboli-delivery"] for one in hook.received[many:]} == {uid}
    assert told(node)["attempts"] >= 3


@pytest.mark.parametrize("after", [False, True])
async def test_an_operator_killed_at_each_of_its_calls(roots: Roots, after: bool) -> None:
    """The prompt is sent once, and the receiver gets at least one notification, always with the same identifier."""
    at, ended = 0, False
    while not ended:
        at += 1
        async with made_node(roots) as node:
            allow(node, "127.0.0.0/8")
            with serving(Receiver(statuses=[500, 200])) as hook:
                killer = Killer()
                async with node.process(killer) as process:
                    uid = run(node, hook)
                    await node.finished()
                    number = len(killer.calls) + at
                    killer.at, killer.after = number, after
                    dead = asyncio.ensure_future(killer.dead.wait())
                    done = asyncio.ensure_future(reported(node))
                    await asyncio.wait({dead, done}, return_when=asyncio.FIRST_COMPLETED)
                    ended = not killer.dead.is_set()
                    for task in (dead, done):
                        task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await done
                    assert process is not None
                async with node.process() as process:
                    await process.sweep.begin()
                    await reported(node)
                assert {one.headers["x-stromboli-delivery"] for one in hook.received} == {uid}
                assert 2 <= len(hook.received) <= 3
                assert len(node.prompts) == 1
        assert at < 30


async def test_only_the_operator_of_the_runs_node_reports(node: Node, hook: Receiver) -> None:
    hook.statuses = [500]
    async with node.process():
        run(node, hook)
        await tried(node, 1)
    many = len(hook.received)
    with elsewhere(node, "node-b") as settings:
        async with node.process(settings=settings) as process:
            await process.sweep.begin()
            await asyncio.sleep(0.1)
    assert len(hook.received) == many


async def test_a_user_who_deletes_the_run_ends_it(node: Node, hook: Receiver) -> None:
    hook.statuses = [500]
    async with node.process():
        run(node, hook)
        await tried(node, 1)
        node.cluster.delete_run(SPACE, "run")
        await asyncio.sleep(0.1)
        many = len(hook.received)
        await asyncio.sleep(0.1)
    assert len(hook.received) == many


async def test_a_time_to_live_waits_for_the_notification(
    node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "PAUSE", 0.005)
    hook.statuses = [500]
    async with node.process() as process:
        deleting = asyncio.create_task(process.expiry.run())
        try:
            run(node, hook, ttlSecondsAfterFinished=0)
            node.run("other", ttlSecondsAfterFinished=0)
            await tried(node, 3)
            await node.until(lambda: (SPACE, "other") not in node.cluster.objects, "the other one is deleted")
            assert (SPACE, "run") in node.cluster.objects
            hook.statuses = [200]
            await node.until(lambda: (SPACE, "run") not in node.cluster.objects, "it is deleted too")
        finally:
            deleting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await deleting


async def test_after_a_day_it_is_given_up(node: Node, hook: Receiver) -> None:
    hook.statuses = [500]
    async with node.process():
        run(node, hook)
        await tried(node, 1)

        def long_ago(obj: Object) -> None:
            obj["status"]["completionTime"] = times.to_micro(datetime.now(UTC) - timedelta(days=1))

        node.cluster.change(SPACE, "run", long_ago)
        await node.until(lambda: "nextAttemptTime" not in told(node), "it is given up")
        many = len(hook.received)
        await asyncio.sleep(0.1)
        assert len(hook.received) == many
        await node.until(lambda: bool(events(node, "NotificationGivenUp")), "an event says so")
    assert told(node)["lastError"] == "the receiver answers with status 500"
    assert "deliveryTime" not in told(node)
    async with node.process() as process:
        await process.sweep.begin()
        await asyncio.sleep(0.1)
    assert len(hook.received) == many, "nor after a restart"


# --- the API server ---


async def test_a_result_that_cannot_be_written_yet_is_not_sent_again(
    node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, away = FakeCluster.write_notification, [True]

    async def unavailable(self: FakeCluster, *args: Any) -> Any:
        if away[0]:
            raise ClusterUnavailable("the API server does not answer")
        return await write(self, *args)

    monkeypatch.setattr(FakeCluster, "write_notification", unavailable)
    async with node.process():
        run(node, hook)
        await asyncio.to_thread(hook.wait, 1)
        await asyncio.sleep(0.1)
        away[0] = False
        await reported(node)
    assert len(hook.received) == 1


async def test_an_object_that_is_full_is_not_sent_again_and_again(
    node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: FakeCluster, *args: Any) -> Any:
        raise Rejected("the request is too large")

    monkeypatch.setattr(FakeCluster, "write_notification", full)
    hook.statuses = [500, 200]
    async with node.process() as process:
        run(node, hook)
        await asyncio.to_thread(hook.wait, 2)
        for _ in range(3):
            assert await process.sweep.attempt(), "which reads all runs again"
            await asyncio.sleep(0.03)
    assert len(hook.received) == 2
    assert told(node) == {}


async def test_somebody_else_who_writes_of_the_notification_is_overwritten(
    node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is sent again because of that."""
    write, first = FakeCluster.write_notification, [True]

    async def late(self: FakeCluster, *args: Any) -> Any:
        if first:
            first.clear()
            other = {"attempts": 77, "nextAttemptTime": times.to_micro(datetime.now(UTC))}
            self.change(SPACE, "run", lambda obj: obj["status"].update(notification=other))
        return await write(self, *args)

    monkeypatch.setattr(FakeCluster, "write_notification", late)
    async with node.process():
        run(node, hook)
        assert (await reported(node))["attempts"] == 1
    assert len(hook.received) == 1


async def test_somebody_else_who_writes_metadata_disturbs_nothing(node: Node, hook: Receiver) -> None:
    hook.statuses = [500, 500, 500, 200]
    async with node.process():
        run(node, hook)
        await node.finished()

        async def label() -> None:
            for n in range(1000):
                node.cluster.change(SPACE, "run", lambda obj, n=n: obj["metadata"].update(labels={"n": str(n)}))  # type: ignore[misc]
                await asyncio.sleep(0.001)

        labels = asyncio.create_task(label())
        await reported(node)
        labels.cancel()
    assert len(hook.received) == 4


# --- slow receivers ---


async def test_slow_receivers_hold_up_neither_runs_nor_other_receivers(
    node: Node, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    post = Sender.post

    async def slow(self: Sender, url: str, *args: Any) -> int:
        calls.append(url)
        if "slow" in url:
            await asyncio.Event().wait()
        return await post(self, url, *args)

    monkeypatch.setattr(Sender, "post", slow)
    async with node.process():
        for n in range(8):
            run(node, hook, f"slow-{n}", notify={"url": f"http://slow.example/{n}"})
        await node.finished()
        await node.until(lambda: len(calls) == 2, "as many as one receiver may have are sent")
        run(node, hook, "quick")
        await reported(node, "quick")
    assert len([url for url in calls if "slow" in url]) == 2
