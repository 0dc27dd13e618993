"""Secrets of runs: they reach the hooks and the agent of one attempt, and nothing else has them, then or later."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from lightkube.types import PatchType

from stromboli import naming
from stromboli.kube.kinds import AgentRun
from tests.support import images
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.leaks import files_with
from tests.support.operator import OperatorProcess
from tests.support.runs import ENDLESS, Object, Runs, condition, finished, reason_is

TOKEN = "tok-4f9c1d7ab2"
PASSWORD = "first line of it\nsecond-line-'of'-\"it\"\n"
KEY = b"\0\xffbinary-begins-here\0" + bytes(range(256)) * 300
LATER = "rotated-77c1e0"
DATA = {"TOKEN": TOKEN.encode(), "PASSWORD": PASSWORD.encode(), "key.pem": KEY, "YES": b"true"}
WORDS = (TOKEN, "first line of it", "second-line-", "binary-begins-here")
PLACE = "/run/stromboli/secret"
# Hashes, since the values themselves are redacted.
SHOW = "for n in TOKEN DB_PASSWORD DB_YES MODE; do printenv $n | sha256sum | cut -d' ' -f1; done"
SHOW_FILES = f"cat {PLACE}/key | sha256sum | cut -d' ' -f1; stat -c '%a %u %g' {PLACE}/key; ls -A {PLACE}"


def put(kubectl: Kubectl, kind: str, namespace: str, name: str, data: dict[str, bytes]) -> None:
    where = "data" if kind == "Secret" else "binaryData"
    body: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    if kind == "Secret":
        body[where] = {key: base64.b64encode(value).decode() for key, value in data.items()}
    else:
        body["data"] = {key: value.decode() for key, value in data.items()}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))


def given(image: str, prompt: str, **more: Any) -> dict[str, Any]:
    """A run that is given a token, all keys of two objects, and a file."""
    return {
        "image": image,
        "prompt": prompt,
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}}],
        "envFrom": [
            {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "texts"}, "prefix": "DB_"},
            {"secretRef": {"name": "nowhere", "optional": True}},
        ],
        "secretFiles": [{"name": "key", "secretKeyRef": {"name": "keys", "key": "key.pem"}}],
        **more,
    }


def hashed(value: str | bytes) -> str:
    return sha256(value if isinstance(value, bytes) else value.encode()).hexdigest()


EXPECTED = [hashed(f"{value}\n") for value in (TOKEN, PASSWORD, "true", "production")]


def said(run: Object) -> str:
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    return str(run["status"]["result"]["text"]).removeprefix("The offline stand-in passes on what the tool said: ")


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs], kubectl: Kubectl) -> Runs:
    made = spaces("secrets", light=True)
    put(kubectl, "Secret", made.namespace, "keys", DATA)
    put(kubectl, "Secret", made.namespace, "texts", {k: v for k, v in DATA.items() if k != "key.pem"} | {"a.b": b"x"})
    put(kubectl, "ConfigMap", made.namespace, "settings", {"MODE": b"production", "TOKEN": b"overridden"})
    return made


@pytest.fixture(scope="module")
def going(space: Runs, python_image: str) -> Iterator[Object]:
    """A run whose agent goes on for ever, after a hook that has shown what it was given."""
    hook = f"{SHOW}; {SHOW_FILES}"
    space.apply("going", **given(python_image, f"BASH{{{ENDLESS}}}", lifecycle={"postStart": [hook]}))
    yield space.until("going", reason_is("Running"))
    space.client.patch(
        AgentRun, "going", {"spec": {"cancel": True}}, namespace=space.namespace, patch_type=PatchType.MERGE
    )
    space.until("going", finished)


@pytest.fixture(scope="module")
def real(spaces: Callable[..., Runs], kubectl: Kubectl) -> Runs:
    """For images without Python, which the light CLI needs."""
    made = spaces("secrets-real")
    put(kubectl, "Secret", made.namespace, "keys", DATA)
    return made


def test_agents_and_hooks_are_given_them(space: Runs, python_image: str, kubectl: Kubectl) -> None:
    with_root = given(python_image, f"BASH{{{SHOW}; {SHOW_FILES}}}")
    run = space.run("given", **with_root)
    assert said(run).splitlines() == [*EXPECTED, hashed(KEY), "400 0 0", "key"]
    events = {event["reason"]: event["message"] for event in space.events("given")}
    assert events["InvalidEnvironmentVariableNames"].startswith(
        "spec.envFrom[1]: keys of the Secret texts were left out, after the prefix DB_: a.b (not the name"
    )


def test_a_file_is_the_users_as_whom_the_agent_works(real: Runs, podman_env: dict[str, str]) -> None:
    for name in ("nonroot", "numeric-user"):
        run = real.run(
            name,
            image=images.build(name, podman_env),
            prompt=f"BASH{{{SHOW_FILES}; id -u}}",
            claude={"dangerouslySkipPermissions": True},
            secretFiles=[{"name": "key", "secretKeyRef": {"name": "keys", "key": "key.pem"}}],
        )
        content, owned, listed, uid = said(run).splitlines()
        assert (content, listed) == (hashed(KEY), "key")
        assert uid != "0"
        assert owned.split()[:2] == ["400", uid]


def test_while_it_runs_nothing_else_has_them(
    going: Object, space: Runs, host: Host, steady_operator: OperatorProcess
) -> None:
    uid = going["metadata"]["uid"]
    (step,) = [step for step in going["status"]["steps"] if step["hook"] == "postStart"]
    lines = step["tail"].splitlines()
    assert lines[:4] == EXPECTED
    assert lines[4:] == [hashed(KEY), "400 0 0", "key"]
    name = naming.agent(uid).name
    looks = {
        "inspect": host.podman.run("inspect", name),
        "volume": host.podman.run("volume", "inspect", naming.volume(uid)),
        "secrets": host.podman.run("secret", "ls"),
        "processes": "\0".join(_command_lines()),
        "log": steady_operator.log.read_text(errors="replace"),
        "run": json.dumps(space.get("going")),
        "events": json.dumps(space.events("going")),
    }
    for what, text in looks.items():
        for word in WORDS:
            assert word not in text, f"{word} in {what}"
            assert base64.b64encode(word.encode()).decode().rstrip("=")[:-2] not in text, f"{word} in {what}"
    assert _with_any(host.home / "sessions" / uid) == []
    assert _with_any(_volume(host, uid)) == []
    on_tmpfs = _with_any(host.runtime_dir)
    assert {path.parent.parent.name for path in on_tmpfs} <= {"given"}, "what redaction needs, and nothing mounted"


def test_afterwards_nothing_is_left(space: Runs, host: Host, python_image: str) -> None:
    run = space.run("over", **given(python_image, f"BASH{{{SHOW}}}"))
    uid = run["metadata"]["uid"]
    host.until(lambda: not host.containers(f"{naming.OWNER}={uid}"), "its container is gone")
    host.until(lambda: not [p for p in _with_any(host.runtime_dir) if uid in str(p)], "its secrets are gone")
    assert _with_any(host.home / "sessions" / uid) == []


def test_what_an_agent_says_of_them_is_redacted_but_for_short_ones_and_config_maps(
    space: Runs, python_image: str
) -> None:
    show = "for n in TOKEN DB_PASSWORD DB_YES MODE; do printenv $n; done"
    run = space.run("telling", **given(python_image, f"BASH{{{show}}}", lifecycle={"postStart": [show]}))
    for text in (said(run), run["status"]["steps"][0]["tail"]):
        assert not [word for word in WORDS[:3] if word in text]
        assert {"***", "true", "production"} <= set(text.splitlines())


def test_what_is_missing_is_waited_for(space: Runs, python_image: str, kubectl: Kubectl) -> None:
    def reference(name: str, key: str = "k") -> dict[str, Any]:
        return {"secretKeyRef": {"name": name, "key": key}}

    cases: dict[str, tuple[dict[str, Any], str]] = {
        "late-env": (
            {"env": [{"name": "LATE", "valueFrom": reference("late")}]},
            "spec.env[0].valueFrom: the Secret late is not in namespace secrets yet",
        ),
        "late-key": (
            {"env": [{"name": "LATE", "valueFrom": reference("keys", "k")}]},
            "spec.env[0].valueFrom: the Secret keys has no key k yet",
        ),
        "late-from": (
            {"envFrom": [{"configMapRef": {"name": "late"}}]},
            "spec.envFrom[0]: the ConfigMap late is not in namespace secrets yet",
        ),
        "late-file": (
            {"secretFiles": [{"name": "f", **reference("late")}]},
            "spec.secretFiles[0]: the Secret late is not in namespace secrets yet",
        ),
    }
    space.apply_all({name: {"image": python_image, "prompt": "hello", **spec} for name, (spec, _) in cases.items()})
    space.apply(
        "never", image=python_image, prompt="hello", timeout="3s", envFrom=[{"secretRef": {"name": "not-there"}}]
    )
    for name, (_, message) in cases.items():
        waiting = space.until(name, reason_is("WaitingForReference"))
        assert condition(waiting)["message"].startswith(message)
    put(kubectl, "Secret", space.namespace, "late", {"k": b"at last"})
    put(kubectl, "Secret", space.namespace, "keys", {**DATA, "k": b"at last"})
    put(kubectl, "ConfigMap", space.namespace, "late", {"k": b"at last"})
    for run in space.ends(cases).values():
        assert condition(run)["reason"] == "Completed", condition(run)
    never = space.until("never", finished)
    assert condition(never)["reason"] == "TimedOut"
    assert "the Secret not-there is not in namespace" in condition(never)["message"]


def test_a_name_that_would_load_code_is_refused_with_its_source(
    space: Runs, python_image: str, kubectl: Kubectl
) -> None:
    put(kubectl, "Secret", space.namespace, "loader", {"PRELOAD": TOKEN.encode()})
    source = {"secretRef": {"name": "loader"}, "prefix": "LD_"}
    run = space.run("loader", image=python_image, prompt="hello", envFrom=[source])
    assert condition(run)["reason"] == "InvalidSpec"
    assert condition(run)["message"].startswith(
        "spec.envFrom[0]: key PRELOAD of the Secret loader: LD_PRELOAD changes which code the agent's process loads"
    )
    assert "attempts" not in run["status"]


def test_a_retry_is_given_what_the_secret_has_by_then(space: Runs, python_image: str, kubectl: Kubectl) -> None:
    put(kubectl, "Secret", space.namespace, "rotating", {"VALUE": TOKEN.encode(), "f": b"old-content"})
    wait = f'printenv VALUE | sha256sum; cat {PLACE}/f | sha256sum; [ "$VALUE" != {TOKEN} ] || exit 1'
    space.apply(
        "retrying",
        image=python_image,
        prompt="hello",
        lifecycle={"postStart": [wait]},
        retryOn=["HookFailed"],
        envFrom=[{"secretRef": {"name": "rotating"}}],
        secretFiles=[{"name": "f", "secretKeyRef": {"name": "rotating", "key": "f"}}],
    )
    space.until("retrying", reason_is("Retrying"))
    put(kubectl, "Secret", space.namespace, "rotating", {"VALUE": LATER.encode(), "f": b"new-content"})
    run = space.until("retrying", finished)
    assert condition(run)["reason"] == "Completed", condition(run)
    tail = run["status"]["steps"][0]["tail"]
    assert [line.split()[0] for line in tail.splitlines()] == [hashed(f"{LATER}\n"), hashed("new-content")]
    assert len(run["status"]["attempts"]) == 2


def test_a_session_s_next_run_has_its_own_and_none_of_the_last_one_s(
    real: Runs, host: Host, kubectl: Kubectl, podman_env: dict[str, str]
) -> None:
    space, skip = real, {"dangerouslySkipPermissions": True}
    image = images.build("nonroot", podman_env)
    put(kubectl, "Secret", space.namespace, "first", {"ONE": TOKEN.encode(), "f": KEY})
    put(kubectl, "Secret", space.namespace, "second", {"TWO": LATER.encode(), "f": b"other"})
    look = f"printenv ONE TWO | sha256sum; ls -A {PLACE}; cat {PLACE}/* | sha256sum; "
    look += "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c ^ONE="
    for name, file in (("first", "a"), ("second", "b")):
        space.run(
            f"session-{name}",
            image=image,
            prompt=f"BASH{{{look}}}",
            session={"name": "talk"},
            claude=skip,
            envFrom=[{"secretRef": {"name": name}}],
            secretFiles=[{"name": file, "secretKeyRef": {"name": name, "key": "f"}}],
        )
    lines = said(space.get("session-second")).splitlines()
    assert lines[:3] == [f"{hashed(f'{LATER}{chr(10)}')}  -", "b", f"{hashed('other')}  -"]
    assert lines[3:] == ["0"]
    session = space.get("session-second")["status"]["session"]["uid"]
    fork = {"name": "more", "fork": "talk"}
    space.run("forked", image=image, prompt="BASH{printenv ONE TWO; echo none}", session=fork, claude=skip)
    assert said(space.get("forked")) == "none"
    fork = space.get("forked")["status"]["session"]["uid"]
    assert fork != session
    for uid in (session, fork):
        assert _with_any(host.home / "sessions" / uid) == []
        assert _with_any(_volume(host, uid)) == []
        assert _with_any(Path(host.podman.run("container", "mount", naming.agent(uid).name).strip())) == []


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                yield (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def _volume(host: Host, uid: str) -> Path:
    return Path(host.podman.run("volume", "inspect", "--format={{.Mountpoint}}", naming.volume(uid)).strip())


def _with_any(folder: Path) -> list[Path]:
    """The files below a folder that have one of the secrets in them."""
    return files_with(folder, WORDS)
