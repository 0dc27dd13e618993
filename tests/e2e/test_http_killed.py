"""Runs by HTTP while the gateway, the operator, or both are killed at each moment, and while answers to them are lost.

Whoever asks repeats the request until it is answered, as clients do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateways import GatewayProcess, free_port
from tests.support.http_api import Answer, HttpApi
from tests.support.meddler import Meddler, meddling
from tests.support.operator import OperatorProcess, Standin
from tests.support.receivers import Receiver, serving
from tests.support.runs import policy_body

LIMIT = 90.0  # seconds for a request to be answered, however often it is repeated
PAUSE = 0.2  # seconds before it is repeated
# What a call asks the API server: who calls, whether there is the run, for a session, for a run, for the run's state,
# and for its changes. Without an Idempotency-Key, the first two are left out.
KEYED, PLAIN = 6, 4
MADE = 3  # the first that makes something, with a key
LINES = 30


@pytest.fixture(scope="module")
def meddler(http_api: HttpApi) -> Iterator[Meddler]:
    with meddling(http_api.gateway.kubeconfig) as made:
        yield made


@pytest.fixture(scope="module")
def replica(http_api: HttpApi, meddler: Meddler, folder: Path) -> Iterator[HttpApi]:
    """Another gateway, whose requests the meddler passes on. The API server does not know it, so that it may die."""
    config = meddler.config(http_api.gateway.kubeconfig, folder / "meddler.kubeconfig")
    process = GatewayProcess(config, "stromboli-system", free_port(), folder / "replica.log", http_port=free_port())
    process.start()
    yield replace(http_api, gateway=process)
    process.kill()


def anew(api: HttpApi) -> HttpApi:
    """The same user with another token, by which the meddler knows the call."""
    token = api.kubectl("-n", api.namespace, "create", "token", "http-user", "--duration=1h").strip()
    return replace(api, token=token)


def request(name: str, image: str) -> dict[str, Any]:
    """A run that answers with its name, in a new session of that name."""
    podman = {"image": image, "timeout": "2m"}
    return {"prompt": f"ECHO{{{name}}}", "claude": {"session_id": name}, "podman": podman}


def insist(api: HttpApi, body: dict[str, Any], key: str = "") -> Answer:
    """The answer to a request that is repeated after each 5xx and each connection that breaks off."""
    headers = {"Idempotency-Key": key} if key else {}
    limit, last = time.monotonic() + LIMIT, ""
    while time.monotonic() < limit:
        try:
            answer = api.call("POST", "/run", body, headers=headers)
        except httpx2.TransportError as e:
            last = str(e)
        else:
            if answer.status < 500:
                return answer
            last = str(answer.body)
        time.sleep(PAUSE)
    raise AssertionError(f"no answer in {LIMIT:.0f} s: {last}")


def check(api: HttpApi, standin: Standin, name: str, *answers: Answer) -> None:
    """All answers are of the same run, the only one in its session, which has sent its prompt once."""
    assert {answer.status for answer in answers} == {200}, [answer.body for answer in answers]
    assert all(answer.body == answers[0].body for answer in answers)
    assert (answers[0].body["output"], answers[0].body["session_id"]) == (name, name)
    listed = json.loads(api.kubectl("-n", api.namespace, "get", "agentruns.stromboli.dev", "-o", "json"))
    runs = [run["metadata"]["name"] for run in listed["items"] if run["spec"].get("session", {}).get("name") == name]
    assert runs == [answers[0].body["id"]]
    assert sent(standin, f"ECHO{{{name}}}") == 1


def sent(standin: Standin, prompt: str) -> int:
    return sum(prompt == each["last_user_text"] for each in standin.requests())


def test_a_gateway_that_is_killed_at_any_request_of_its_own_and_an_operator_that_is(
    replica: HttpApi, meddler: Meddler, standin: Standin, steady_operator: OperatorProcess, python_image: str
) -> None:
    """The gateway after the API server has answered, and before it knows that; the operator with it, or afterwards."""
    calls = {}
    with ThreadPoolExecutor() as pool:
        for nth in range(MADE, KEYED + 1):
            name, api = f"killed-{nth}", anew(replica)
            trap = meddler.lose(api.token, nth, replica.gateway.kill)
            calls[name] = pool.submit(insist, api, request(name, python_image), name)
            trap.wait()
            if nth % 2:
                steady_operator.kill()
                steady_operator.start(wait=False)
            replica.gateway.start()
        steady_operator.kill()
        steady_operator.start()
        for name, call in calls.items():
            check(replica, standin, name, call.result())


def test_an_answer_of_the_api_server_that_is_lost(
    replica: HttpApi, meddler: Meddler, standin: Standin, steady_operator: OperatorProcess, python_image: str
) -> None:
    calls, traps = {}, []
    with ThreadPoolExecutor() as pool:
        for many, keyed in ((KEYED, True), (PLAIN, False)):
            for nth in range(1, many + 1):
                name, api = f"lost-{nth}-{'keyed' if keyed else 'plain'}", anew(replica)
                traps.append(meddler.lose(api.token, nth))
                calls[name] = pool.submit(insist, api, request(name, python_image), name if keyed else "")
        for name, call in calls.items():
            check(replica, standin, name, call.result())
    for trap in traps:
        trap.wait()


def test_two_gateways_that_are_asked_at_the_same_time(
    http_api: HttpApi, replica: HttpApi, standin: Standin, steady_operator: OperatorProcess, python_image: str
) -> None:
    with ThreadPoolExecutor() as pool:
        body = request("twice", python_image)
        calls = [pool.submit(insist, api, body, "twice") for api in (http_api, replica) for _ in range(3)]
        check(http_api, standin, "twice", *(call.result() for call in calls))


def receivers(namespace: str) -> dict[str, Any]:
    """A policy: runs of the namespace may report to receivers of this machine."""
    return policy_body(f"{namespace}-receivers", namespace, {"notify": {"allowedNetworks": ["127.0.0.0/8"]}})


def streamed(api: HttpApi, body: dict[str, Any], operator: OperatorProcess) -> tuple[list[str], dict[str, Any]]:
    """All lines, and the run's outcome; the gateway is killed before the first, and again and again later."""
    seen: list[str] = []
    headers = {"Idempotency-Key": "streamed"}
    kills = {0, LINES // 3, LINES - 1}
    while True:
        try:
            with api.stream("POST", "/run/stream", body, headers=headers) as answer:
                assert answer.status_code == 200
                event: dict[str, str] = {}
                for line in answer.iter_lines():
                    if line and not line.startswith(":"):
                        name, _, event[name] = line.partition(": ")
                    elif event:
                        if event.get("event"):
                            assert event["event"] == "done", event
                            return seen, json.loads(event["data"])
                        headers = {"Last-Event-ID": event["id"]}
                        seen += [event["data"]] if "data" in event else []
                        event = {}
                        if len(seen) in kills:
                            kills.remove(len(seen))
                            api.gateway.kill()
                            if seen:
                                operator.kill()
                                operator.start(wait=False)
        except httpx2.TransportError:
            api.gateway.start()


def test_a_stream_that_is_continued_and_a_webhook_whose_first_attempt_fails(
    replica: HttpApi, standin: Standin, steady_operator: OperatorProcess, python_image: str
) -> None:
    """While gateways and operators die, no line is lost and none comes twice; and what is to be told arrives."""
    replica.kubectl("apply", "-f", "-", stdin=json.dumps(receivers(replica.namespace)))
    with serving(Receiver(statuses=[500, 204])) as hook:
        told = {"prompt": "ECHO{told}", "podman": {"image": python_image}, "webhook_url": hook.url()}
        job = replica.call("POST", "/run/async", told).body["job_id"]
        result = '{"type": "result", "subtype": "success", "is_error": false, "result": "streamed"}'
        script = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.2; done; echo '{result}'"
        prompt = f"ECHO{{sh:{script}}}"
        body = {"prompt": prompt, "podman": {"image": python_image, "timeout": "2m"}}
        seen, outcome = streamed(replica, body, steady_operator)
        assert seen == [*(f"line {n}" for n in range(1, LINES + 1)), result]
        assert (outcome["status"], outcome["output"]) == ("completed", "streamed")
        assert sent(standin, prompt) == 1
        replica.gateway.kill()
        one, other = hook.wait(2)
        assert one.body == other.body
        assert (other.said["job_id"], other.said["status"], other.said["output"]) == (job, "completed", "told")
    replica.gateway.start()
