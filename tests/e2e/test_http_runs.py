"""Runs by HTTP, with everything real behind them: their answers, lines and sessions, and a gateway that dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.http_api import HttpApi
from tests.support.operator import Standin
from tests.support.runs import ENDLESS, condition
from tests.support.waiting import eventually

GROUP = "agentruns.stromboli.dev"
SLOW = "for n in 1 2 3 4 5 6; do sleep 1; done; echo slow"  # long enough to kill a gateway meanwhile


def request(prompt: str, image: str, **claude: Any) -> dict[str, Any]:
    options = {"dangerously_skip_permissions": True, **claude}
    return {"prompt": prompt, "claude": options, "podman": {"image": image, "timeout": "2m"}}


def run_of(http_api: HttpApi, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(http_api.kubectl("-n", http_api.namespace, "get", GROUP, name, "-o", "json"))
    return found


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events, each as its fields; comments are left out."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif found:
            yield found
            found = {}


def sent(standin: Standin, prompt: str) -> int:
    """How many times a conversation was begun with the prompt."""
    return sum(prompt in each["last_user_text"] for each in standin.requests())


def test_a_run_is_answered_as_kubectl_shows_it(http_api: HttpApi, python_image: str) -> None:
    answer = http_api.call("POST", "/run", request("say something", python_image))
    assert answer.status == 200, answer.body
    run = run_of(http_api, answer.body["id"])
    assert answer.body["status"] == "completed"
    assert answer.body["output"] == run["status"]["result"]["text"]
    assert answer.body["session_id"] == run["spec"]["session"]["name"]
    assert answer.body["usage"]["total_tokens"] > 0
    again = request("say more", python_image, session_id=answer.body["session_id"], resume=True)
    assert http_api.call("POST", "/run", again).body["session_id"] == answer.body["session_id"]
    taken = http_api.call("POST", "/run", request("say more", python_image, session_id=answer.body["session_id"]))
    assert (taken.status, taken.body["reason"]) == (409, "AlreadyExists")


def test_what_a_run_is_refused_for_is_a_bad_request(http_api: HttpApi, python_image: str) -> None:
    for body, field in (
        ({"prompt": "x", "podman": {"imgae": python_image}}, "podman.imgae"),
        ({"prompt": "x", "podman": {"image": "Not A Reference"}}, "podman.image"),
        ({"podman": {"image": python_image}}, "prompt"),
    ):
        answer = http_api.call("POST", "/run", body)
        assert (answer.status, answer.body["details"]["field"]) == (400, field), answer.body
    volumes = {"prompt": "x", "podman": {"image": python_image, "volumes": ["/etc:/host"]}}
    answer = http_api.call("POST", "/run", volumes)
    assert (answer.status, answer.body["reason"]) == (400, "PolicyViolation"), answer.body


def test_a_long_answer_is_whole(http_api: HttpApi, python_image: str) -> None:
    prompt = "BASH{seq 1 9000}"
    answer = http_api.call("POST", "/run", request(prompt, python_image))
    assert answer.body["output"].rstrip().endswith("9000"), answer.body["output"][-200:]
    assert len(answer.body["output"]) > 32 * 1024
    event = http_api.call("POST", "/run", request(prompt, python_image, output_format="json")).body["output"]
    assert json.loads(event)["type"] == "result"


def test_the_lines_of_a_stream_are_the_clis(http_api: HttpApi, python_image: str) -> None:
    with http_api.stream("POST", "/run/stream", request("say something", python_image)) as answer:
        _, *lines, done = events(answer.iter_lines())
    assert [json.loads(line["data"])["type"] for line in lines][-1] == "result"
    outcome = json.loads(done["data"])
    assert (done["event"], outcome["status"]) == ("done", "completed")
    middle = lines[len(lines) // 2]
    with http_api.stream("GET", "/run/stream?prompt=x", headers={"Last-Event-ID": middle["id"]}) as answer:
        _, *rest, done = events(answer.iter_lines())
    assert rest == lines[len(lines) // 2 + 1 :]
    assert json.loads(done["data"]) == outcome


def test_a_gateway_that_dies_ends_no_run(http_api: HttpApi, standin: Standin, python_image: str) -> None:
    """In the middle of a call that waits, of a stream, and of an asynchronous one: each run goes on, is found again,
    and its prompt was sent once.
    """
    bodies = {how: request(f"BASH{{echo begun-{how}; {SLOW}}}", python_image) for how in ("wait", "stream", "async")}
    keys = {how: {"Idempotency-Key": f"dies-{how}"} for how in bodies}
    last: list[str] = []

    def streams() -> None:
        with http_api.stream("POST", "/run/stream", bodies["stream"], headers=keys["stream"]) as answer:
            for event in events(answer.iter_lines()):
                last[:] = [event["id"]]

    with ThreadPoolExecutor() as pool:
        job = http_api.call("POST", "/run/async", bodies["async"], headers=keys["async"]).body["job_id"]
        broken: list[Future[Any]] = [
            pool.submit(http_api.call, "POST", "/run", bodies["wait"], headers=keys["wait"]),
            pool.submit(streams),
        ]
        eventually(
            lambda: all(sent(standin, f"begun-{how}") for how in bodies), "all prompts are sent", standin.requests, 60
        )
        http_api.kill()
        assert all(isinstance(each.exception(timeout=30), httpx2.TransportError) for each in broken)
        http_api.start()
    found = http_api.call("GET", f"/jobs/{job}")
    assert (found.status, found.body["status"]) in ((200, "running"), (200, "completed"))
    again = http_api.call("POST", "/run", bodies["wait"], headers=keys["wait"])
    assert (again.status, again.body["status"]) == (200, "completed"), again.body
    with http_api.stream("POST", "/run/stream", bodies["stream"], headers={"Last-Event-ID": last[0]}) as answer:
        done = list(events(answer.iter_lines()))[-1]
    assert json.loads(done["data"])["status"] == "completed"
    assert {how: sent(standin, f"echo begun-{how}") for how in bodies} == dict.fromkeys(bodies, 1)


def test_a_client_that_hangs_up_cancels_its_run_only_if_it_asked_for_that(http_api: HttpApi, python_image: str) -> None:
    prompt = f"BASH{{{ENDLESS}}}"
    for query, key in (("", "stays"), ("?cancel_on_disconnect=true", "ends")):
        with pytest.raises(httpx2.TimeoutException):
            http_api.call(
                "POST", f"/run{query}", request(prompt, python_image), headers={"Idempotency-Key": key}, within=3
            )
    reasons = {}
    for key in ("stays", "ends"):
        answer = http_api.call("POST", "/run/async", request(prompt, python_image), headers={"Idempotency-Key": key})
        reasons[key] = answer.body["job_id"]

    def reason() -> object:
        return condition(run_of(http_api, reasons["ends"])).get("reason")

    eventually(lambda: reason() == "Canceled", "it is canceled", reason, 60)
    assert condition(run_of(http_api, reasons["stays"]))["status"] == "Unknown"
    assert http_api.call("DELETE", f"/jobs/{reasons['stays']}").body["cancelled"] is True
