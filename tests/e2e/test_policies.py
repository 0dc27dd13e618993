"""Policies: which ones apply to a namespace, what they forbid, how they combine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cluster import Kubectl
from tests.support.images import build
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, completed, condition, finished, policy_body, reason_is


@pytest.fixture(scope="module")
def basis(light_spec: dict[str, Any]) -> dict[str, Any]:
    """The minimal policy under which runs work, without rules for images."""
    return {k: light_spec[k] for k in ("cli", "network", "env", "credentials")}


@pytest.fixture(scope="module")
def restricted(spaces: Callable[..., Runs]) -> Runs:
    """A namespace with an allowlist of its own in addition to one that allows everything."""
    space = spaces("restricted", light=True)
    space.policy("list", images={"allowed": ["python:*", "ghcr.io/myorg/**"]})
    return space


def test_only_what_a_pattern_matches_runs(restricted: Runs, python_image: str) -> None:
    images = {
        "allowed": "python:3.12",
        "canonical": python_image,
        "other": "scratchpad-alpine:1",
        "other-registry": "ghcr.io/library/python:3.12",
        "longer-name": "python-evil:3.12",
        "only-a-prefix": "ghcr.io/myorg-evil/app:1",
        "port": "docker.io:443/library/python:3.12",
    }
    ended = restricted.run_all({n: {"prompt": "ECHO{ran}", "image": image} for n, image in images.items()})
    for name, run in ended.items():
        if name in ("allowed", "canonical"):
            assert condition(run)["reason"] == "Completed", condition(run)["message"]
            assert condition(run, "Allowed")["status"] == "True"
            assert condition(run, "Allowed")["reason"] == "Allowed"
            continue
        assert condition(run)["reason"] == "ImageNotAllowed", name
        for words in ("AgentPolicy restricted-list", "python:*, ghcr.io/myorg/**", "is not allowed"):
            assert words in condition(run)["message"]
        assert condition(run, "Allowed")["status"] == "False"
        assert condition(run, "Allowed")["reason"] == "ImageNotAllowed"
        assert "attempts" not in run["status"]
        assert "image" not in run["status"]


def test_a_policy_holds_where_its_selector_says(
    spaces: Callable[..., Runs], kubectl: Kubectl, python_image: str
) -> None:
    inside, outside = spaces("selected", light=True), spaces("selected-not", light=True)
    kubectl("label", "namespace", inside.namespace, "team=red", "tier=")
    kubectl("label", "namespace", outside.namespace, "team=blue", "tier=")
    selector = {
        "matchLabels": {"tier": ""},
        "matchExpressions": [
            {"key": "team", "operator": "In", "values": ["red", "green"]},
            {"key": "exempt", "operator": "DoesNotExist"},
        ],
    }
    inside.policy("by-label", namespaceSelector=selector, images={"allowed": ["node:*"]})
    for space in (inside, outside):
        space.apply("run", prompt="ECHO{ran}", image=python_image)
    assert condition(inside.until("run", finished))["reason"] == "ImageNotAllowed"
    completed(outside.until("run", finished))
    kubectl("label", "namespace", inside.namespace, "exempt=")
    completed(inside.run("exempt", prompt="ECHO{ran}", image=python_image))
    assert condition(inside.get("run"))["reason"] == "ImageNotAllowed"


def test_without_an_allowlist_everything_runs_and_it_is_said(
    spaces: Callable[..., Runs], kubectl: Kubectl, basis: dict[str, Any], python_image: str
) -> None:
    space = spaces("unrestricted", own=True)
    space.policy("basis", **basis)
    ended = space.run_all({n: {"prompt": "ECHO{ran}", "image": python_image} for n in ("one", "two")})
    for run in ended.values():
        assert condition(run)["reason"] == "Completed", condition(run)["message"]
        assert condition(run, "Allowed")["status"] == "True"
        assert condition(run, "Allowed")["reason"] == "NoAllowlist"
        assert "no policy restricts images" in condition(run, "Allowed")["message"]
    events = json.loads(kubectl("-n", space.namespace, "get", "events", "-o", "json"))["items"]
    warnings = [e for e in events if e["reason"] == "NoAllowlist"]
    assert len(warnings) == 1
    assert warnings[0]["type"] == "Warning"
    assert "images.allowed" in warnings[0]["message"]


def test_without_credentials_nothing_starts(
    spaces: Callable[..., Runs], basis: dict[str, Any], python_image: str
) -> None:
    space = spaces("no-credentials", own=True)
    space.policy("basis", **{k: v for k, v in basis.items() if k != "credentials"})
    run = space.run("run", prompt="hello", image=python_image)
    assert condition(run)["reason"] == "CredentialsMissing"
    assert "credentials.secretRef" in condition(run)["message"]


def test_a_gateway_in_a_shared_folder_opens_that_folder_to_nobody(
    spaces: Callable[..., Runs], basis: dict[str, Any], python_image: str
) -> None:
    space = spaces("gateway", own=True)
    space.policy("basis", **{**basis, "env": [{"name": "ANTHROPIC_UNIX_SOCKET", "value": "/tmp/gateway.sock"}]})
    run = space.run("run", prompt="hello", image=python_image)
    assert condition(run)["reason"] == "PolicyViolation"
    assert "its folder /tmp holds other things as well" in condition(run)["message"]
    assert "attempts" not in run["status"]


def test_a_bridge_is_a_network_of_the_namespaces_own_and_none_beats_it(
    spaces: Callable[..., Runs], basis: dict[str, Any], isolated_podman: IsolatedPodman, python_image: str
) -> None:
    one, other, none = (spaces(f"network-{n}", own=True) for n in ("one", "other", "none"))
    for space in (one, other, none):
        space.policy("basis", **{**basis, "network": "bridge"})
    none.policy("strict", network="none")
    interfaces = "BASH{tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '}"
    before = isolated_podman.run("network", "ls", "--quiet").split()
    for space in (one, other, none):
        space.apply("run", prompt=interfaces, image=python_image, claude={"dangerouslySkipPermissions": True})
    for space, seen in ((one, {"lo", "eth0"}), (other, {"lo", "eth0"}), (none, {"lo"})):
        done = space.until("run", finished)
        assert condition(done)["reason"] == "Completed", condition(done)["message"]
        assert set(done["status"]["result"]["text"].split(": ")[-1].split()) == seen
    assert len(isolated_podman.run("network", "ls", "--quiet").split()) - len(before) == 2


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cli.tag": ({"cli": {"tag": "one"}}, {"cli": {"tag": "two"}}),
    "defaults.memory": ({"defaults": {"memory": "256Mi"}}, {"defaults": {"memory": "512Mi"}}),
    "env MODE": ({"env": [{"name": "MODE", "value": "a"}]}, {"env": [{"name": "MODE", "value": "b"}]}),
    "credentials": (
        {"credentials": {"secretRef": {"name": "one"}}},
        {"credentials": {"secretRef": {"name": "one", "namespace": "elsewhere"}}},
    ),
    "images.pullPolicy": ({"images": {"pullPolicy": "Always"}}, {"images": {"pullPolicy": "Never"}}),
}


def test_two_policies_that_differ_name_each_other(
    spaces: Callable[..., Runs], kubectl: Kubectl, python_image: str
) -> None:
    spaces_ = {what: spaces(f"differ-{n}", own=True) for n, what in enumerate(DIFFERENT)}
    bodies = [
        policy_body(f"{space.namespace}-{which}", space.namespace, spec)
        for what, space in spaces_.items()
        for which, spec in zip(("first", "second"), DIFFERENT[what], strict=True)
    ]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}))
    for space in spaces_.values():
        space.apply("run", prompt="hello", image=python_image)
    for what, space in spaces_.items():
        run = space.until("run", finished)
        assert condition(run)["reason"] == "PolicyViolation", what
        message = condition(run)["message"]
        for words in (f"AgentPolicy {space.namespace}-first", f"AgentPolicy {space.namespace}-second", what):
            assert words in message
        assert condition(run, "Allowed")["status"] == "False"
    for which, other in (("first", "second"), ("second", "first")):
        name = f"{spaces_['cli.tag'].namespace}-{which}"
        kubectl("wait", "--for=condition=Effective=False", "--timeout=20s", f"agentpolicy/{name}")
        written = json.loads(kubectl("get", "agentpolicy", name, "-o", "json"))
        assert condition(written, "Accepted")["status"] == "True"
        assert condition(written, "Effective")["reason"] == "Contradiction"
        said = f"cli.tag: AgentPolicy {spaces_['cli.tag'].namespace}-{other} gives another value"
        assert said in condition(written, "Effective")["message"]


def test_policies_narrow_each_other(spaces: Callable[..., Runs]) -> None:
    space = spaces("narrowed")
    space.policy("first", images={"allowed": ["python:*", "node:*"]})
    space.policy("second", images={"allowed": ["python:3.1*"], "requireDigest": True})
    digest = "sha256:" + "0" * 64
    ended = space.run_all(
        {
            "by-first-only": {"prompt": "hello", "image": "node:20"},
            "without-digest": {"prompt": "hello", "image": "python:3.12"},
            "a-digest-is-no-tag": {"prompt": "hello", "image": f"python:3.12@{digest}"},
        }
    )
    for name, words in (
        ("by-first-only", "AgentPolicy narrowed-second, which allows python:3.1*"),
        ("without-digest", "names no digest, which AgentPolicy narrowed-second requires"),
        ("a-digest-is-no-tag", "AgentPolicy narrowed-second, which allows python:3.1*"),
    ):
        assert condition(ended[name])["reason"] == "ImageNotAllowed"
        assert words in condition(ended[name])["message"]


def test_defaults_hold_for_runs_that_do_not_say(
    spaces: Callable[..., Runs], isolated_podman: IsolatedPodman, python_image: str, podman_env: dict[str, str]
) -> None:
    build("scratchpad", podman_env)
    space = spaces("defaults")
    env = [{"name": "FROM_POLICY", "value": "set by the administrator"}]
    space.policy(
        "all",
        env=env,
        defaults={"image": "python:3.12", "memory": "300Mi", "cpus": 1, "timeout": "20s"},
        limits={"memory": "400Mi", "pids": 500, "timeout": "30s"},
    )
    space.apply("plain", prompt="SLEEP{2}BASH{printenv FROM_POLICY}", claude={"dangerouslySkipPermissions": True})
    space.apply("own", prompt="SLEEP{2}", image="scratchpad-alpine:1", resources={"memory": "400Mi"}, timeout="30s")
    space.apply("overriding", prompt="hello", env=[{"name": "FROM_POLICY", "value": "mine"}])
    space.apply("over", prompt="hello", resources={"memory": "401Mi"})
    running = space.all_until(("plain", "own"), reason_is("Running"))
    attempts = {name: run["status"]["attempts"][-1] for name, run in running.items()}
    limits = {
        n: json.loads(isolated_podman.run("inspect", a["container"]))[0]["HostConfig"] for n, a in attempts.items()
    }
    assert (limits["plain"]["Memory"], limits["own"]["Memory"]) == (300 << 20, 400 << 20)
    assert limits["plain"]["CpuQuota"] == limits["own"]["CpuQuota"] == 100_000
    assert limits["plain"]["PidsLimit"] == limits["own"]["PidsLimit"] == 500
    assert (attempts["plain"]["timeout"], attempts["own"]["timeout"]) == ("20s", "30s")
    assert running["plain"]["status"]["image"]["reference"] == python_image
    plain = space.until("plain", finished)
    assert "set by the administrator" in plain["status"]["result"]["text"]
    overriding = space.until("overriding", finished)
    assert condition(overriding)["reason"] == "PolicyViolation"
    assert "FROM_POLICY is set by a policy" in condition(overriding)["message"]
    over = condition(space.until("over", finished))
    assert over["reason"] == "PolicyViolation"
    assert "401Mi is over the ceiling of 400Mi that AgentPolicy defaults-all sets" in over["message"]


@pytest.mark.parametrize(
    ("where", "spec", "words"),
    [
        *(
            ("spec.images.allowed[1]", {"images": {"allowed": ["python:*", pattern]}}, "is not an image pattern")
            for pattern in (
                "python:{3,4}", "user@ghcr.io/x", "a%b", "Python:*", "py[thon", "python@sha256:12", "żółw:*", " ",
                "docker://python", "a,b", "../x",
            )
        ),
        ("spec.defaults.memory", {"defaults": {"memory": "512m"}}, "write 512Mi"),
        ("spec.volumes.allowed[0].path", {"volumes": {"allowed": [{"path": "srv"}]}}, "absolute path"),
        ("spec.volumes.allowed[0].path", {"volumes": {"allowed": [{"path": "/srv/../etc"}]}}, "has a .. in it"),
        ("spec.volumes.allowed[0].path", {"volumes": {"allowed": [{"path": "/srv/*"}]}}, "a path, not a pattern"),
        ("spec.images.allowed", {"images": {"allowed": []}}, "leave allowed out to allow every image"),
        ("spec.limits.memory", {"limits": {"memory": "8g"}}, "is not a memory size: write 8Gi"),
        ("spec.limits.cpus", {"limits": {"cpus": "two"}}, "should match"),
        ("spec.cli.image", {"cli": {"image": "docker://ghcr.io/x/y"}}, "is not an image reference"),
        ("spec.env[0]", {"env": [{"name": "LD_PRELOAD", "value": "/x.so"}]}, "changes which code"),
        ("spec.network", {"network": "host"}, 'supported values: "bridge", "none"'),
        ("spec.imagse", {"imagse": {}}, "unknown field"),
    ],
)  # fmt: skip
def test_a_policy_that_is_wrong_is_refused_when_it_is_applied(
    kubectl: Kubectl, installed: None, where: str, spec: dict[str, Any], words: str
) -> None:
    body: Object = policy_body("wrong", "nowhere", spec)
    done = kubectl.attempt("apply", "-f", "-", stdin=json.dumps(body))
    assert done.returncode != 0
    assert where in done.stderr
    assert words in done.stderr


def test_stacks_may_be_turned_off(spaces: Callable[..., Runs]) -> None:
    space = spaces("no-stacks", light=True)
    space.policy("strict", compose={"enabled": False})
    stack = {"type": "compose", "inline": "services: {dev: {image: 'python:3.12'}}"}
    run = space.run("run", prompt="hello", environment=stack)
    assert condition(run)["reason"] == condition(run, "Allowed")["reason"] == "PolicyViolation"
    assert condition(run)["message"].startswith(
        "spec.environment: AgentPolicy no-stacks-strict sets compose.enabled: false; use spec.image, or ask"
    )
    assert "attempts" not in run["status"]
