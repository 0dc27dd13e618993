"""Named sessions: installs that survive, one run at a time, conversations that go on, deletion."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import Standin
from tests.support.podman import IsolatedPodman
from tests.support.runs import Runs, completed, condition, finished, reason_is
from tests.support.sessions import go, idle, session, tails

COUNT = "echo x >> /usr/lib/count-{0}; echo {0}: $(wc -l < /usr/lib/count-{0})"
LIFECYCLE = {
    "onCreateCommand": [COUNT.format("create")],
    "postCreate": [COUNT.format("post")],
    "postStart": [COUNT.format("start")],
}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("sessions")


@pytest.fixture(scope="module")
def light(spaces: Callable[..., Runs]) -> Runs:
    """For what does not depend on the conversation."""
    return spaces("light-sessions", light=True)


def test_installs_stay_and_the_conversation_goes_on(
    space: Runs, standin: Standin, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    chosen = {"name": "story"}
    first = go(space, "s1", prompt="ECHO{one}", image=python_image, session=chosen, lifecycle=LIFECYCLE)
    assert tails(first) == ["create: 1", "post: 1", "start: 1"]
    second = go(space, "s2", prompt="ECHO{two}", session=chosen)
    assert tails(second) == ["start: 2"]
    asked = [r for r in standin.requests() if "ECHO{two}" in str(r["last_user_text"])]
    assert [text for r in asked for text in r["user_texts"] if "ECHO" in text] == ["ECHO{one}", "ECHO{two}"]
    found = idle(space, "story")
    assert found["status"]["runs"] == 2
    assert found["status"]["claudeSessionID"] == second["status"]["session"]["claudeSessionID"]
    assert "currentRun" not in found["status"]
    uid = found["metadata"]["uid"]
    kubectl("-n", space.namespace, "delete", "agentsession", "story")
    host.await_gone(uid)
    assert naming.agent(uid).name not in str(host.containers())


def test_configuration_begins_each_run_as_the_image_has_it(
    space: Runs, python_image: str, isolated_podman: IsolatedPodman
) -> None:
    image, made = "localhost/stromboli-test/configured:1", "configured"
    write = """
        mkdir -p ~/.claude /work/.claude && echo '{"env": {"FROM_IMAGE": "yes"}}' >~/.claude/settings.json
        echo '{"env": {"CLAUDE_CODE_MAX_RETRIES": "9"}}' >/work/.claude/settings.json
    """
    isolated_podman.run("run", "--name", made, "--network=none", python_image, "/bin/sh", "-c", write)
    isolated_podman.run("commit", "--quiet", made, image)
    isolated_podman.run("rm", made)
    hook = {"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command", "command": "touch /usr/lib/hooked"}]}]}}
    leave = f"BASH{{printenv FROM_IMAGE; echo '{json.dumps(hook)}' >$CLAUDE_CONFIG_DIR/settings.json}}"
    chosen = {"name": "configured"}
    may = {"dangerouslySkipPermissions": True}
    first = go(space, "configured-1", prompt=leave, image=image, workdir="/work", session=chosen, claude=may)
    look = "printenv FROM_IMAGE; ls /usr/lib/hooked; echo retries: $CLAUDE_CODE_MAX_RETRIES; touch /etc/claude-code/x"
    second = go(space, "configured-2", prompt=f"BASH{{{look}}}", session=chosen, claude=may)
    texts = [run["status"]["result"]["text"] for run in (first, second)]
    assert ["yes" in text for text in texts] == [True, True]
    assert "No such file" in texts[1], texts[1]
    assert "retries: 0" in texts[1], "a project's settings do not override what a policy sets"
    assert "Read-only file system" in texts[1]


def test_a_failure_of_the_agent_keeps_what_the_hooks_have_done(light: Runs, python_image: str) -> None:
    light.apply(
        "f1", prompt="SLEEP{20}", image=python_image, session={"name": "kept"}, lifecycle=LIFECYCLE, timeout="3s"
    )
    assert condition(light.until("f1", finished))["reason"] == "TimedOut"
    assert tails(go(light, "f2", prompt="ECHO{again}", session={"name": "kept"})) == ["start: 2"]


def test_hooks_of_the_beginning_that_fail_discard_the_container(light: Runs, python_image: str) -> None:
    """Their effects are discarded with it, so the next run starts over."""
    hooks = {"onCreateCommand": [COUNT.format("create")], "postCreate": ["test -e /run/stromboli/session/ok"]}
    chosen = {"name": "discarded"}
    light.apply("d1", prompt="ECHO{never}", image=python_image, session=chosen, lifecycle=hooks)
    failed = condition(light.until("d1", finished))
    assert failed["reason"] == "HookFailed"
    assert "postCreate[0]" in failed["message"]
    assert idle(light, "discarded")["status"].get("initialized") is None
    light.apply("d2", prompt="ECHO{never}", session=chosen)
    assert tails(light.until("d2", finished))[0] == "create: 1"


def test_a_post_start_that_fails_keeps_the_container(light: Runs, python_image: str) -> None:
    hooks = {"onCreateCommand": [COUNT.format("create")], "postStart": [COUNT.format("start"), "test -e /usr/lib/go"]}
    chosen = {"name": "kept-too"}
    light.apply("p1", prompt="ECHO{never}", image=python_image, session=chosen, lifecycle=hooks)
    assert condition(light.until("p1", finished))["reason"] == "HookFailed"
    light.apply("p2", prompt="ECHO{never}", session=chosen)
    assert tails(light.until("p2", finished))[0] == "start: 2"


def test_what_differs_from_the_template_is_refused(light: Runs, python_image: str) -> None:
    chosen = {"name": "fixed"}
    go(light, "t1", prompt="ECHO{t1}", image=python_image, session=chosen, workdir="/work", lifecycle=LIFECYCLE)
    go(light, "t2", prompt="ECHO{t2}", image=python_image, session=chosen, workdir="/work", lifecycle=LIFECYCLE)
    different: dict[str, dict[str, Any]] = {
        "spec.image": {"image": "debian:12"},
        "spec.workdir": {"workdir": "/elsewhere"},
        "spec.lifecycle.postStart": {"lifecycle": {"postStart": ["true"]}},
        "spec.resources.memory": {"resources": {"memory": "512Mi"}},
    }
    for n, (field, changes) in enumerate(different.items()):
        light.apply(f"t3-{n}", prompt="ECHO{never}", session=chosen, **changes)
        refused = condition(light.until(f"t3-{n}", finished))
        assert refused["reason"] == "InvalidSpec"
        assert refused["message"].startswith(f"{field}:"), refused["message"]
        assert "name a new session, or fork this one" in refused["message"]


def test_one_at_a_time_in_the_order_in_which_they_were_made(light: Runs, python_image: str, kubectl: Kubectl) -> None:
    names = [f"q{n}" for n in (5, 3, 8, 1, 9, 2, 7, 0, 6, 4)]  # kubectl creates them in this order
    chosen = {"name": "queue"}
    ends = light.run_all({n: {"prompt": f"ECHO{{{n}}}", "image": python_image, "session": chosen} for n in names})
    assert {condition(end)["reason"] for end in ends.values()} == {"Completed"}
    began = {n: end["status"]["attempts"][0]["startedAt"] for n, end in ends.items()}
    ended = {n: end["status"]["completionTime"] for n, end in ends.items()}
    assert sorted(names, key=lambda n: began[n]) == names
    for one, next_ in itertools.pairwise(names):
        assert ended[one] <= began[next_], f"{next_} began before {one} had ended"
    assert idle(light, "queue")["status"]["runs"] == len(names)


def test_a_container_that_somebody_removed_is_made_again(
    space: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    chosen = {"name": "rebuilt"}
    go(space, "r1", prompt="ECHO{before}", image=python_image, session=chosen, lifecycle=LIFECYCLE)
    uid = idle(space, "rebuilt")["metadata"]["uid"]
    host.podman.run("rm", naming.agent(uid).name)
    assert tails(go(space, "r2", prompt="ECHO{after}", session=chosen)) == ["create: 1", "post: 1", "start: 1"]
    asked = [r for r in standin.requests() if "ECHO{after}" in str(r["last_user_text"])]
    assert "ECHO{before}" in [text for r in asked for text in r["user_texts"]]
    host.until(lambda: "ContainerRebuilt" in [e["reason"] for e in space.events("r2")], "an event is emitted")


def test_a_volume_that_somebody_removed_is_said(light: Runs, python_image: str, host: Host) -> None:
    chosen = {"name": "lost"}
    go(light, "l1", prompt="ECHO{l1}", image=python_image, session=chosen)
    uid = idle(light, "lost")["metadata"]["uid"]
    host.podman.run("rm", naming.agent(uid).name)
    host.podman.run("volume", "rm", naming.volume(uid))
    light.apply("l2", prompt="ECHO{never}", session=chosen)
    failed = condition(light.until("l2", finished))
    assert (failed["reason"], naming.volume(uid) in failed["message"]) == ("ContainerLost", True)
    host.until(lambda: "currentRun" not in session(light, "lost")["status"], "the run has left the session")
    found = {c["type"]: (c["status"], c["reason"]) for c in session(light, "lost")["status"]["conditions"]}
    assert found == {"Ready": ("False", "VolumeLost"), "Stalled": ("True", "VolumeLost")}


def test_a_deleted_run_ends_and_lets_the_next_go(light: Runs, python_image: str) -> None:
    chosen = {"name": "passed-on"}
    light.apply("p-first", prompt="SLEEP{60}", image=python_image, session=chosen)
    light.until("p-first", reason_is("Running"))
    light.apply("p-second", prompt="ECHO{second}", session=chosen)
    queued = condition(light.until("p-second", reason_is("Queued")))
    assert queued["message"] == "behind the run p-first in the queue of the session passed-on"
    light.delete("p-first")
    completed(light.until("p-second", finished))


def test_deleting_a_session_cancels_its_run_and_leaves_nothing(
    light: Runs, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    light.apply("c1", prompt="SLEEP{60}", image=python_image, session={"name": "canceled"})
    light.until("c1", reason_is("Running"))
    uid = session(light, "canceled")["metadata"]["uid"]
    kubectl("-n", light.namespace, "delete", "agentsession", "canceled")
    ended = condition(light.until("c1", finished))
    assert (ended["reason"], "canceled was deleted" in ended["message"]) == ("Canceled", True)
    host.await_gone(uid)


def test_a_session_that_nobody_uses_is_deleted_after_its_time(
    light: Runs, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    body = {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": "short", "namespace": light.namespace},
        "spec": {"title": "a short one", "ttlAfterLastUse": "2s", "template": {"image": python_image}},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    uid = session(light, "short")["metadata"]["uid"]
    go(light, "u1", prompt="ECHO{u1}", session={"name": "short"})
    kubectl("-n", light.namespace, "wait", "--for=delete", "agentsession/short", "--timeout=20s")
    host.await_gone(uid)
