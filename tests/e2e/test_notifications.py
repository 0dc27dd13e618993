"""The ends of runs are reported to receivers that are not always there, by an operator that is not either."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from stromboli.grammar import times
from stromboli.grammar.network import MEANT
from stromboli.grammar.receiver import SCHEME_MEANT, URL_MEANT, USER_MEANT
from stromboli.kube.kinds import AgentRun
from tests.support.operator import OperatorProcess
from tests.support.receivers import Receiver, serving
from tests.support.runs import Object, Runs, condition, finished

EXAMPLE = Path(__file__).parent.parent.parent / "examples/notify"
KEY = b"\x00a key\xff\n"
RETRIED = 90.0  # seconds for two attempts after the first, on a busy machine: 10 and 20, with a fifth more


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    made = spaces("notified", light=True)
    made.policy("receivers", notify={"allowedNetworks": ["127.0.0.0/8"]})
    metadata = ObjectMeta(name="hooks", namespace=made.namespace)
    made.client.create(Secret(metadata=metadata, data={"key": b64encode(KEY).decode()}))
    return made


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with serving(Receiver()) as made:
        yield made


def told(obj: Object) -> dict[str, Any]:
    found: dict[str, Any] = obj.get("status", {}).get("notification") or {}
    return found


def reported(obj: Object) -> bool:
    return "deliveryTime" in told(obj)


def tried(many: int) -> Callable[[Object], bool]:
    return lambda obj: told(obj).get("attempts", 0) >= many


def test_an_end_is_reported_signed_and_nothing_else_of_it_changes(
    space: Runs, hook: Receiver, python_image: str
) -> None:
    notify = {"url": hook.url("/runs?token=s3cret"), "secretKeyRef": {"name": "hooks", "key": "key"}}
    space.apply("signed", prompt="ECHO{hi ✓}", image=python_image, notify=notify)
    seen = []
    for obj in space.seen(60.0, "signed"):
        seen.append(obj)
        if reported(obj):
            break
    ended = [obj["status"] for obj in seen if finished(obj)]
    finals = [{key: value for key, value in status.items() if key != "notification"} for status in ended]
    assert all(status == finals[0] for status in finals)
    assert {"attempts": 1, "lastStatusCode": 204}.items() <= told(seen[-1]).items()
    (one,) = hook.received
    one.check(KEY)
    assert one.path == "/runs?token=s3cret"
    assert one.headers["x-stromboli-delivery"] == seen[-1]["metadata"]["uid"]
    assert one.said == {
        "job_id": "signed",
        "status": "completed",
        "output": finals[0]["result"]["text"],
        "error": "",
        "session_id": "",
    }


def test_a_receiver_that_is_down_an_operator_that_is_killed_and_a_server_error(
    steady_operator: OperatorProcess, space: Runs, python_image: str
) -> None:
    """All of them, one after the other; the run has a time to live, which waits for the notification."""
    hook = Receiver(statuses=[500, 200])
    with serving(hook):
        port = hook.port
    space.apply("late", prompt="ECHO{a}", image=python_image, ttlSecondsAfterFinished=0, notify={"url": hook.url()})
    obj = space.until("late", tried(1))
    assert told(obj)["lastError"] == f"http://127.0.0.1:{port} cannot be connected to: Connection refused"
    assert times.from_text(told(obj)["nextAttemptTime"]) - times.from_text(told(obj)["lastAttemptTime"]) > timedelta(
        seconds=9
    )
    steady_operator.kill()
    with serving(hook, port=port):
        steady_operator.start()
        obj = space.until("late", tried(2), RETRIED)
        assert (told(obj)["lastStatusCode"], told(obj)["lastError"]) == (500, "the receiver answers with status 500")
        steady_operator.kill()
        steady_operator.start()
        last = space.until("late", reported, RETRIED)
    until_deleted(space, "late")
    assert told(last)["attempts"] == 3
    assert {one.headers["x-stromboli-delivery"] for one in hook.received} == {last["metadata"]["uid"]}
    assert len(hook.received) == 2


def until_deleted(space: Runs, name: str) -> None:
    limit = time.monotonic() + 60.0
    while name in {
        str(obj.metadata.name) for obj in space.client.list(AgentRun, namespace=space.namespace) if obj.metadata
    }:
        assert time.monotonic() < limit, f"{name} is still there after a minute"
        time.sleep(0.05)


def test_a_redirection_is_not_followed(space: Runs, hook: Receiver, python_image: str) -> None:
    with serving(Receiver()) as elsewhere:
        hook.statuses, hook.headers = [307], {"Location": elsewhere.url()}
        space.apply("moved", prompt="ECHO{a}", image=python_image, notify={"url": hook.url()})
        assert told(space.until("moved", tried(1)))["lastStatusCode"] == 307
        assert elsewhere.received == []


def test_an_address_that_no_policy_allows_is_refused_and_a_name_is_not_called(
    spaces: Callable[..., Runs], hook: Receiver, python_image: str
) -> None:
    private = spaces("notified-by-nobody", light=True)
    common: dict[str, Any] = {"prompt": "ECHO{a}", "image": python_image}
    refused = private.run("address", **common, notify={"url": hook.url("/?token=s3cret", host="[::ffff:127.0.0.1]")})
    assert condition(refused)["reason"] == "PolicyViolation"
    assert condition(refused)["message"].startswith(
        "spec.notify.url: 127.0.0.1 is a loopback address, and no policy has it in notify.allowedNetworks"
    )
    private.apply("name", **common, notify={"url": hook.url("/?token=s3cret", host="localhost")})
    named = private.until("name", tried(1))
    assert condition(named)["reason"] == "Completed"
    assert told(named)["lastError"].startswith(f"http://localhost:{hook.port} may not be called: ")
    events = {event["reason"]: event for name in ("address", "name") for event in private.events(name)}
    assert events["NotificationRefused"]["type"] == "Warning"
    assert "s3cret" not in json.dumps([*events.values(), named["status"], refused["status"]])
    assert hook.received == []


def test_the_api_server_says_what_is_no_receiver(space: Runs) -> None:
    for url, said in (
        ("example.com/hook", SCHEME_MEANT),
        ("ftp://example.com", SCHEME_MEANT),
        ("https://me:secret@example.com/", USER_MEANT),
        ("https://example.com/#part", URL_MEANT),
        ("https://example.com/a b", URL_MEANT),
    ):
        message = space.refused("wrong", prompt="a", notify={"url": url})
        assert message.count("spec.notify.url: Invalid value") == 1, message
        assert said in message
    space.apply("right", prompt="a", suspend=True, notify={"url": "https://example.com:8443/~a%20b?c='d'&e=[f]"})
    space.delete("right")


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0", "x", "::ffff:10.0.0.0/104", "10.0.0.0/08"])
def test_the_api_server_says_what_is_no_network(space: Runs, network: str) -> None:
    with pytest.raises(ApiError, match="is not a network") as refused:
        space.policy("wrong", notify={"allowedNetworks": [network]})
    assert MEANT in str(refused.value)


def test_a_receiver_cannot_be_changed(space: Runs) -> None:
    space.apply("fixed", prompt="a", suspend=True, notify={"url": "https://example.com"})
    changed = {"spec": {"notify": {"url": "https://example.org"}}}
    with pytest.raises(ApiError, match="notify cannot be changed"):
        space.client.patch(AgentRun, "fixed", changed, namespace=space.namespace, patch_type=PatchType.MERGE)
    space.delete("fixed")


def test_the_receiver_of_the_example_checks_the_signature(space: Runs, python_image: str, hook: Receiver) -> None:
    """The example's own files, at another port and in the test's namespace."""
    with serving(Receiver()) as free:
        port = free.port
    secret, run = (yaml.safe_load((EXAMPLE / name).read_text()) for name in ("3-secret.yaml", "4-agentrun.yaml"))
    metadata = ObjectMeta(name=secret["metadata"]["name"], namespace=space.namespace)
    space.client.create(Secret(metadata=metadata, stringData=secret["stringData"]))
    run["spec"]["notify"]["url"] = run["spec"]["notify"]["url"].replace("8099", str(port))
    command = [sys.executable, str(EXAMPLE / "receiver.py"), "--once", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            space.apply("example", **run["spec"] | {"image": python_image})
            said, _ = process.communicate(timeout=RETRIED)
        finally:
            process.kill()
    assert json.loads(said)["job_id"] == "example"
    assert process.returncode == 0
    assert reported(space.until("example", reported))
