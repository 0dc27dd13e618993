"""The body of "create container": what stands in it, and what never does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import container, request, volumes
from stromboli.plan.container import Body, Identity, Place
from stromboli.plan.policy import Effective
from tests.support.builders import effective, policy, spec

OPEN = effective(policy(volumes={"allowed": [{"path": "/srv"}]}))
ROOT = Identity(0, 0)
HOME = "/home/op/sessions/u"
PLACE = Place(
    attempt=f"{HOME}/attempt",
    secret=f"{HOME}/secret",
    cli=f"{HOME}/cli",
    gateway=None,
    volume="stromboli-u",
    network="stromboli-net",
)
LABELS = {"stromboli.dev/owner": "u", "stromboli.dev/run": "team/a"}


def _body(under: Effective = OPEN, identity: Identity = ROOT, place: Place = PLACE, **fields: Any) -> Body:
    wanted = request.build(spec(**fields), under)
    return container.body(
        wanted,
        name="stromboli-u",
        image_id="f00d",
        identity=identity,
        place=place,
        volumes=wanted.volumes,
        labels=LABELS,
        longest=wanted.timeout,
    )


def _rows(body: Body, kind: str) -> list[tuple[int, int, int]]:
    return [(row["container_id"], row["host_id"], row["size"]) for row in body["idmappings"][kind]]


def _binds(body: Body) -> dict[str, tuple[str, list[str]]]:
    own = ("/run/stromboli", "/run/stromboli/secret")
    assert [(m["type"], m["destination"]) for m in body["mounts"] if m["type"] != "bind"] == [
        ("tmpfs", at) for at in own
    ]
    found = {m["destination"]: (m["source"], m["options"]) for m in body["mounts"]}
    assert len(found) == len(body["mounts"]), "two mounts at one place"
    return {at: mount for at, mount in found.items() if at not in own}


def test_the_frame() -> None:
    body = _body()
    assert body["name"] == "stromboli-u"
    assert body["image"] == "f00d"
    assert body["labels"] == LABELS
    assert body["entrypoint"] == ["/run/stromboli/plan/busybox", "sh", "/run/stromboli/plan/supervisor"]
    assert body["command"] == []
    assert body["user"] == "0:0"
    assert body["work_dir"] == "/", "any other is made by Podman, through links that lead out of the container"
    assert body["groups"] == []
    assert body["stop_signal"] == 15
    assert "env" not in body
    assert "remove" not in body


def test_isolation_is_podmans_own_and_no_less() -> None:
    body = _body()
    assert body["no_new_privileges"] is True
    assert body["image_volume_mode"] == "ignore"
    assert body["healthconfig"] == {"Test": ["NONE"]}
    assert body["log_configuration"] == {"driver": "none"}
    assert body["httpproxy"] is False
    assert body["restart_policy"] == "no"
    assert body["systemd"] == "false"
    for key in ("privileged", "cap_add", "pidns", "ipcns", "utsns", "cgroupns", "devices", "secrets", "secret_env"):
        assert key not in body
    assert "host" not in json.dumps([v for k, v in body.items() if k.endswith("ns")])


def test_our_own_mounts() -> None:
    assert _binds(_body()) == {
        "/run/stromboli/plan": (f"{HOME}/attempt/plan", ["ro", "rbind", "nosuid", "nodev"]),
        "/etc/claude-code": (f"{HOME}/attempt/plan/managed", ["ro", "rbind", "nosuid", "nodev"]),
        "/run/stromboli/out": (f"{HOME}/attempt/out", ["rw", "rbind", "nosuid", "nodev"]),
        "/run/stromboli/handed": (f"{HOME}/secret", ["ro", "rbind", "nosuid", "nodev"]),
        "/opt/claude": (f"{HOME}/cli", ["ro", "rbind", "nosuid", "nodev"]),
    }
    assert _body()["volumes"] == [{"Name": "stromboli-u", "Dest": "/run/stromboli/session", "Options": ["rw"]}]


def test_secret_files_have_a_tmpfs_of_bounded_size_from_which_nothing_is_executed() -> None:
    above, own = [mount["options"] for mount in _body()["mounts"] if mount["type"] == "tmpfs"]
    for options in (above, own):
        assert {"rw", "nosuid", "nodev", "noexec", "notmpcopyup"} <= set(options)
    assert f"size={2 * 1024 * 1024}" in own
    assert "mode=1777" in own
    assert "mode=755" in above


def test_an_image_that_brings_its_own_cli_gets_none() -> None:
    place = replace(PLACE, cli=None)
    assert "/opt/claude" not in _binds(_body(place=place))


def test_volumes_are_bound_as_they_were_allowed() -> None:
    binds = _binds(_body(volumes=["/srv/a:/w:ro", "/srv/b:/x"]))
    assert binds["/w"] == ("/srv/a", ["ro", "rbind", "nosuid", "nodev"])
    assert binds["/x"] == ("/srv/b", ["rw", "rbind", "nosuid", "nodev"])


def test_the_resolved_paths_are_bound_and_not_the_written_ones() -> None:
    wanted = request.build(spec(volumes=["/srv/link:/w"]), OPEN)
    body = container.body(
        wanted,
        name="n",
        image_id="i",
        identity=ROOT,
        place=PLACE,
        volumes=volumes.parse(["/srv/real:/w"]),
        labels={},
        longest=60.0,
    )
    assert _binds(body)["/w"][0] == "/srv/real"
    assert "/srv/link" not in json.dumps(body)


def test_the_gateways_folder_is_bound_read_only() -> None:
    source, options = _binds(_body(place=replace(PLACE, gateway="/srv/gateway")))["/run/stromboli/gateway"]
    assert source == "/srv/gateway"
    assert options[0] == "ro"


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (None, {"netns": {"nsmode": "none"}}),
        ("net", {"netns": {"nsmode": "bridge"}, "Networks": {"net": {}}}),
    ],
)
def test_the_network(network: str | None, expected: Body) -> None:
    body = _body(place=replace(PLACE, network=network))
    assert {k: v for k, v in body.items() if k in ("netns", "Networks")} == expected


# --- user ---


def test_root_as_podman_has_it() -> None:
    assert "userns" not in _body()


def test_another_user_where_podman_is_root() -> None:
    body = _body(identity=Identity(1000, 100))
    assert body["user"] == "1000:100"
    assert "userns" not in body


def test_another_user_where_podman_is_rootless() -> None:
    body = _body(identity=Identity(1000, 100, namespace=(65537, 65537)))
    assert body["user"] == "1000:100"
    assert body["userns"] == {"nsmode": "private"}
    # (in the container, in Podman's namespace, how many): 0 there is the person who runs it
    assert _rows(body, "UIDMap") == [(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536)]
    assert _rows(body, "GIDMap") == [(0, 1, 100), (100, 0, 1), (101, 101, 65436)]


@pytest.mark.parametrize(
    ("gid", "rows"),
    [
        (0, [(0, 0, 1), (1, 1, 9)]),
        (9, [(0, 1, 9), (9, 0, 1)]),
        (5000, [(0, 1, 9), (5000, 0, 1)]),
    ],
)
def test_an_id_at_the_end_of_the_namespace_or_past_it(gid: int, rows: list[tuple[int, int, int]]) -> None:
    assert _rows(_body(identity=Identity(4242, gid, namespace=(65537, 10))), "GIDMap") == rows


# --- limits ---


def test_a_run_that_sets_no_limit_has_one_of_processes() -> None:
    assert _body()["resource_limits"] == {"pids": {"limit": 2048}}


def test_limits() -> None:
    resources = {"memory": "64Mi", "cpus": "1500m", "cpuShares": 512, "pids": 99}
    assert _body(resources=resources)["resource_limits"] == {
        "pids": {"limit": 99},
        "memory": {"limit": 64 * 1024**2, "swap": 64 * 1024**2},
        "cpu": {"quota": 150_000, "period": 100_000, "shares": 512},
    }


@pytest.mark.parametrize(
    ("cpus", "quota"),
    [("1m", 1000), ("9m", 1000), ("10m", 1000), ("11m", 1100), ("0.5", 50_000), (8, 800_000), ("8192", 819_200_000)],
)
def test_the_kernel_takes_no_quota_below_a_millisecond(cpus: int | str, quota: int) -> None:
    assert _body(resources={"cpus": cpus})["resource_limits"]["cpu"] == {"quota": quota, "period": 100_000}


def test_shares_alone() -> None:
    assert _body(resources={"cpuShares": 2})["resource_limits"]["cpu"] == {"shares": 2}


@pytest.mark.parametrize(("timeout", "backstop"), [("1s", 121), ("1500ms", 121), ("30m", 1920), ("168h", 604_920)])
def test_the_backstop_comes_after_the_timeout_and_the_grace(timeout: str, backstop: int) -> None:
    body = _body(timeout=timeout)
    assert body["timeout"] == backstop
    assert isinstance(body["timeout"], int)


# --- what never stands in a container's configuration ---

PRIVATE = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=16, max_size=24)


@given(private=PRIVATE)
def test_nothing_of_prompt_env_or_documents_stands_in_it(private: str) -> None:
    under = effective(policy(env=[{"name": "PROXY", "value": f"http://{private}a"}]))
    body = _body(
        under,
        prompt=f"{private}b",
        env=[{"name": "TOKEN", "value": f"{private}c"}, {"name": private.upper(), "value": "1"}],
        claude={
            "systemPrompt": f"{private}d",
            "appendSystemPrompt": f"{private}e",
            "settings": {"env": {"X": f"{private}f"}},
            "agents": {"a": {"prompt": f"{private}g"}},
            "mcpConfigs": [{"mcpServers": {"x": {"command": f"{private}h"}}}],
            "model": f"{private}i",
        },
        workdir=f"/{private}j",
    )
    assert private not in json.dumps(body).lower()


def test_a_body_is_json() -> None:
    body = _body(volumes=["/srv/ä:/w"], resources={"memory": "1Gi", "cpus": 1})
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize(
    ("controllers", "resources", "said"),
    [
        ({"memory", "cpu", "pids"}, {"memory": "1Gi", "cpus": 1, "cpuShares": 2, "pids": 64}, None),
        (set(), {}, None),
        ({"cpu", "pids"}, {"memory": "1Gi", "cpus": 1}, "cannot enforce resources memory: "),
        (set(), {"memory": "1Gi", "cpus": 1, "pids": 64}, "cannot enforce resources memory, cpus, pids: "),
        ({"memory", "pids"}, {"cpuShares": 2}, "cannot enforce resources cpuShares: "),
    ],
)
def test_what_the_node_cannot_enforce_is_said(
    controllers: set[str], resources: dict[str, Any], said: str | None
) -> None:
    """The bound on processes that every container has is no wish of a run's."""
    found = container.unenforced(request.build(spec(resources=resources), OPEN), controllers)
    assert (said is None) == (found is None)
    assert said is None or said in str(found)


def test_supplementary_groups_go_by_number() -> None:
    body = _body(identity=Identity(1000, 100, (33, 4242)))
    assert (body["user"], body["groups"]) == ("1000:100", ["33", "4242"])
