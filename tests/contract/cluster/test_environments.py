"""Environments, and what policies say of them: what the API server refuses at apply, and with which sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.models.agentsession import AgentSessionSpec, ServiceHealth, ServiceState, SessionTemplate
from stromboli.models.session import ServiceEntry
from stromboli.status import session as session_status
from tests.contract.cluster.conftest import Bed, Real
from tests.support.builders import NOON
from tests.support.cluster import Kubectl

RUN, SESSION, POLICY = "AgentRun", "AgentSession", "AgentPolicy"
STACK = {"type": "compose", "inline": "services:\n  dev:\n    image: python:3.12\n", "service": "dev"}
WHOLE = STACK | {
    "profiles": ["*", "tools"],
    "env": [{"name": "HOME", "value": "/root"}, {"name": "TAG"}],
    "images": {"db": "postgres:16", "my_cache.1": "ghcr.io/a/redis@sha256:" + "0" * 64},
}
RULES = {
    "enabled": True,
    "allowPrivileged": False,
    "allowHostNetwork": False,
    "allowPorts": True,
    "allowBuild": True,
    "capabilities": ["CAP_NET_ADMIN", "sys_ptrace", "ALL"],
    "healthTimeout": "2m",
    "buildTimeout": "1h",
    "idleTTL": "168h",
    "maxServices": 256,
}
LARGEST = 1024 * 1024


def manifest(kind: str, space: str, name: str = "a", **spec: Any) -> str:
    given = {key: value for key, value in spec.items() if value is not None}
    meta = {"name": name} if kind == POLICY else {"name": name, "namespace": space}
    return json.dumps({"apiVersion": "stromboli.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": given})


def run(environment: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"prompt": "hello", "environment": environment, **more}


async def test_each_field_is_accepted(real: Real, admin: Kubectl) -> None:
    admin("apply", "-f", "-", stdin=manifest(RUN, real.space, **run(WHOLE)))
    admin("apply", "-f", "-", stdin=manifest(SESSION, real.space, template={"environment": WHOLE, "workdir": "/w"}))
    admin("apply", "-f", "-", stdin=manifest(POLICY, real.space, compose=RULES))
    found = await real.cluster.run(real.space, "a")
    assert found is not None
    assert found.spec["environment"] == WHOLE


@pytest.mark.parametrize("kind", [RUN, SESSION])
async def test_a_file_of_a_mebibyte_fits(real: Real, admin: Kubectl, kind: str) -> None:
    stack = {"type": "compose", "inline": "x" * LARGEST}
    spec = run(stack) if kind == RUN else {"template": {"environment": stack}}
    admin("create", "-f", "-", stdin=manifest(kind, real.space, **spec))
    patch = json.dumps({"metadata": {"labels": {"a": "b"}}})  # the whole of it is compared with what it was
    admin("-n", real.space, "patch", kind.lower(), "a", "--type=merge", "-p", patch)


async def test_a_template_with_an_environment_is_written_as_it_was_read(bed: Bed) -> None:
    template = SessionTemplate.model_validate({"environment": WHOLE})
    made = await bed.cluster.create_session(bed.space, "s", AgentSessionSpec(template=template))
    assert made.spec == {"template": {"environment": whole_again()}}


def whole_again() -> dict[str, Any]:
    """The default of a variable's value is written out."""
    return WHOLE | {"env": [{"name": "HOME", "value": "/root"}, {"name": "TAG", "value": ""}]}


async def test_the_services_of_a_session_are_written_and_read_again(bed: Bed) -> None:
    made = await bed.cluster.create_session(bed.space, "s", AgentSessionSpec())
    services = [
        ServiceEntry(f"{state}-{health}", "docker.io/library/a:1", "sha256:0", state, health, True, 3, NOON, "waits")
        for state in ServiceState
        for health in ServiceHealth
    ]
    await bed.cluster.write_status(made, session_status.with_services(made.status, services))
    found = await bed.cluster.session(bed.space, "s")
    assert found is not None
    assert found.status.services == tuple(services)


ONE = "give exactly one of path, paths, inline and configMapKeyRef"
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no type": ({"inline": "x"}, "spec.environment.type: Required value", ""),
    "another type": (
        STACK | {"type": "helm"},
        "spec.environment.type: Unsupported value",
        'supported values: "compose"',
    ),
    "no source": ({"type": "compose"}, "spec.environment: Invalid value", ONE),
    "an empty list as the source": ({"type": "compose", "paths": []}, "spec.environment: Invalid value", ONE),
    "two sources": (STACK | {"path": "/srv/compose.yml"}, "spec.environment: Invalid value", ONE),
    "a relative path": ({"type": "compose", "path": "compose.yml"}, "spec.environment.path", "is relative; write an"),
    "a path with ..": ({"type": "compose", "paths": ["/a", "/a/../b"]}, "spec.environment.paths[1]", "has a .. in it"),
    "a path with a NUL": ({"type": "compose", "path": "/a\0"}, "spec.environment.path", "has a NUL character in it"),
    "too many paths": ({"type": "compose", "paths": ["/a"] * 17}, "spec.environment.paths", "must have at most 16"),
    "a file that is too long": (
        {"type": "compose", "inline": "x" * (LARGEST + 1)},
        "spec.environment.inline",
        "may not be more than 1048576",
    ),
    "a file with a NUL": ({"type": "compose", "inline": "a\0b"}, "spec.environment.inline", "has a NUL character"),
    "no key of the ConfigMap": (
        {"type": "compose", "configMapKeyRef": {"name": "a"}},
        "spec.environment.configMapKeyRef.key: Required value",
        "",
    ),
    "no name of a service": (STACK | {"service": "d b"}, "spec.environment.service", "is not the name of a service"),
    "no name of a variable": (STACK | {"env": [{"name": "A-B"}]}, "spec.environment.env[0].name", "is not the name of"),
    "a variable twice": (STACK | {"env": [{"name": "A"}, {"name": "A"}]}, "spec.environment.env[1]", "Duplicate value"),
    "a profile twice": (STACK | {"profiles": ["a", "a"]}, "spec.environment.profiles[1]", "Duplicate value"),
    "no image": (STACK | {"images": {"db": "docker://x"}}, "spec.environment.images[db]", "is not an image reference"),
    "an unknown field": (STACK | {"file": "/a"}, "spec.environment.file", "unknown field"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_wrong_with_an_environment_is_said_at_apply(real: Real, admin: Kubectl, case: str) -> None:
    stack, field, sentence = REFUSED[case]
    for kind, spec, at in (
        (RUN, run(stack), field),
        (SESSION, {"template": {"environment": stack}}, field.replace("spec.", "spec.template.")),
    ):
        done = admin.attempt("create", "-f", "-", stdin=manifest(kind, real.space, **spec))
        assert done.returncode == 1, kind
        assert at in done.stderr
        assert sentence in done.stderr


async def test_an_image_and_an_environment_exclude_each_other(real: Real, admin: Kubectl) -> None:
    for kind, spec, field in (
        (RUN, run(STACK, image="python:3.12"), "spec"),
        (SESSION, {"template": {"image": "python:3.12", "environment": STACK}}, "spec.template"),
    ):
        done = admin.attempt("create", "-f", "-", stdin=manifest(kind, real.space, **spec))
        assert f"{field}: Invalid value: " in done.stderr
        assert "leave image out, and name another image of a service in environment.images" in done.stderr


async def test_an_environment_cannot_be_changed(real: Real, admin: Kubectl) -> None:
    admin("create", "-f", "-", stdin=manifest(RUN, real.space, **run(WHOLE)))
    admin("create", "-f", "-", stdin=manifest(SESSION, real.space, template={"environment": WHOLE}))
    for change in ({"service": "other"}, {"env": None}, {"images": {"db": "postgres:17"}}):
        for kind, spec in ((RUN, {"environment": change}), (SESSION, {"template": {"environment": change}})):
            patch = json.dumps({"spec": spec})
            done = admin.attempt("-n", real.space, "patch", kind.lower(), "a", "--type=merge", "-p", patch)
            assert done.returncode == 1, (kind, change)
            assert f"{next(iter(spec))} cannot be changed" in done.stderr


REFUSED_RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no capability": (
        {"capabilities": ["CHOWN", "NET_ADMINS"]},
        "capabilities[1]",
        "write its name, such as NET_ADMIN",
    ),
    "a letter that folds to S": (
        {"capabilities": ["\u017fYS_ADMIN"]},
        "capabilities[0]",
        "is not a capability of Linux",
    ),
    "no unit": ({"healthTimeout": "90"}, "healthTimeout", "needs a unit: write 90s for seconds"),
    "days": ({"idleTTL": "2d"}, "idleTTL", "the longest unit is h"),
    "no time at all": ({"buildTimeout": "0s"}, "buildTimeout", "must be a duration of at least a second"),
    "no services": ({"maxServices": 0}, "maxServices", "should be greater than or equal to 1"),
    "a word": ({"allowBuild": "yes"}, "allowBuild", 'must be of type boolean: "string"'),
    "an unknown field": ({"allowDevices": True}, "allowDevices", "unknown field"),
}


@pytest.mark.parametrize("case", REFUSED_RULES)
async def test_what_is_wrong_with_a_policys_rules_is_said_at_apply(real: Real, admin: Kubectl, case: str) -> None:
    rules, field, sentence = REFUSED_RULES[case]
    done = admin.attempt("create", "-f", "-", stdin=manifest(POLICY, real.space, compose=rules))
    assert done.returncode == 1
    assert f"spec.compose.{field}" in done.stderr
    assert sentence in done.stderr
