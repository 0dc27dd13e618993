"""The operator is killed repeatedly while runs use one session: hooks and prompts happen once."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, condition

KILLS, EACH = 24, 4
HOOKS = {
    "onCreateCommand": ["sleep 0.3; echo x >> /usr/lib/created; wc -l < /usr/lib/created"],
    "postCreate": ["sleep 0.3; echo x >> /usr/lib/posted; wc -l < /usr/lib/posted"],
    "postStart": ["echo x >> /usr/lib/begun; wc -l < /usr/lib/begun"],
}


def test_killed_at_random_moments_the_hooks_of_the_beginning_run_once(
    new_operator: Callable[[], OperatorProcess],
    light_runs: Runs,
    standin: Standin,
    python_image: str,
    kubectl: Kubectl,
    host: Host,
) -> None:
    chance = random.Random(11)
    marks: list[str] = []
    for kill in range(KILLS):
        operator = new_operator()
        operator.start(wait=kill % 2 == 0)
        if kill % EACH == 0:
            marks.append(f"in-session-{kill}")
            spec = {"prompt": f"SLEEP{{0.3}} ECHO{{{marks[-1]}}}", "image": python_image, "lifecycle": HOOKS}
            light_runs.apply(marks[-1], session={"name": "killed"}, **spec)
        time.sleep(chance.uniform(0.1, 0.8))  # the random delay is the test
        operator.kill()
    with new_operator():
        ends = light_runs.ends(marks)
        assert {mark: condition(ends[mark])["reason"] for mark in marks} == dict.fromkeys(marks, "Completed")
        sent = [str(request["last_user_text"]) for request in standin.requests()]
        assert {mark: sum(f"{{{mark}}}" in text for text in sent) for mark in marks} == dict.fromkeys(marks, 1)
        told = {m: [(s["hook"], s["tail"].strip()) for s in ends[m]["status"]["steps"]] for m in marks}
        assert told[marks[0]][:3] == [("onCreateCommand", "1"), ("postCreate", "1"), ("postStart", "1")]
        for number, mark in enumerate(marks[1:], 2):
            assert told[mark][0] == ("postStart", str(number)), mark
        space = light_runs.namespace
        found = json.loads(kubectl("-n", space, "get", "agentsession", "killed", "-o", "json"))
        kubectl("-n", space, "delete", "agentsession", "killed")
        host.await_gone(found["metadata"]["uid"])
