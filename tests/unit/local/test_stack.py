"""The order in which an installation comes up and goes down. Each part is a note of what was asked of it."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import PartStatus as Part
from stromboli.errors import InvalidSettings, LocalFailure
from stromboli.local import doctor, images, leftovers, stack
from stromboli.local.aggregation import Aggregation
from stromboli.local.answers import Claude, Offline
from stromboli.local.doctor import Check
from stromboli.local.gateway_process import Gateway
from stromboli.local.home import Home
from stromboli.local.http_api import HttpApi
from stromboli.local.images import Image
from stromboli.local.kubectl import Kubectl
from stromboli.local.messages_process import MessagesProcess
from stromboli.local.operator_process import Operator
from stromboli.local.podman_service import PodmanService
from stromboli.local.stack import Stack
from stromboli.progress import Progress


class Notes(list[str]):
    """What was done, in order; `operator_ready` and `gateway_ready` are how they are at first."""

    operator_ready = False
    operator_current = True
    gateway_ready = False
    gateway_current = True
    aggregation_problem: str | None = None
    trouble: str | None = None
    network = True
    objects: dict[str, Any]
    images: list[str]


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Notes:
    notes = Notes()
    notes.objects, notes.images = {}, []

    def note(what: str, answer: Any = None) -> Any:
        def noted(*args: object, **kwargs: object) -> Any:
            notes.append(what)
            return answer

        return noted

    def messages_stopped(self: MessagesProcess) -> bool:
        notes.append(f"{self.name} down")
        return True

    class NotedCluster:
        def __init__(self, state: Path, binaries: Binaries | None = None) -> None:
            self.kubeconfig = state / "kubeconfig"

        up = note("control plane up")
        down = note("control plane down")

        def parts(self) -> list[Part]:
            return [Part("etcd", 7, True, Path("/log"))]

    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").touch()
    monkeypatch.setattr(stack, "Cluster", NotedCluster)
    monkeypatch.setattr(stack, "find", lambda *args: Binaries(programs, "cache"))
    monkeypatch.setattr(Kubectl, "__call__", lambda self, *args, **kw: _kubectl(notes, args, kw.get("stdin")))
    monkeypatch.setattr(PodmanService, "up", note("podman up", True))
    monkeypatch.setattr(MessagesProcess, "up", lambda self, *args: _messages(notes, self, args))
    for part in (PodmanService, MessagesProcess):
        monkeypatch.setattr(part, "pid", lambda self: 5)
    monkeypatch.setattr(MessagesProcess, "ready", lambda self: True)
    monkeypatch.setattr(PodmanService, "rootless", lambda self: True)
    monkeypatch.setattr(doctor, "network", lambda: Check("network", notes.network, "no tun", "load it"))
    for kind in ("cli", "base"):
        monkeypatch.setattr(images, f"ensure_{kind}_image", lambda *args, kind=kind: _image(notes, kind, args))
    monkeypatch.setattr(PodmanService, "down", note("podman down", True))
    monkeypatch.setattr(PodmanService, "answers", lambda self: True)
    monkeypatch.setattr(PodmanService, "socket", property(lambda self: self.home.podman_socket))
    monkeypatch.setattr(PodmanService, "stores_in_home", lambda self: True)
    monkeypatch.setattr(PodmanService, "remove_storage", note("storage removed"))
    monkeypatch.setattr(MessagesProcess, "stop", messages_stopped)
    monkeypatch.setattr(Operator, "start", lambda self, *args: _operator(notes, self.home))
    monkeypatch.setattr(Operator, "stop", note("operator down", True))
    monkeypatch.setattr(Operator, "pid", lambda self: 9)
    monkeypatch.setattr(Operator, "ready", lambda self: notes.operator_ready)
    monkeypatch.setattr(Operator, "current", lambda self: notes.operator_current)
    monkeypatch.setattr(Gateway, "port", lambda self: 8443)
    monkeypatch.setattr(Gateway, "start", note("gateway up"))
    monkeypatch.setattr(Gateway, "await_ready", lambda self: None)
    monkeypatch.setattr(Gateway, "stop", note("gateway down", True))
    monkeypatch.setattr(Gateway, "pid", lambda self: 8)
    monkeypatch.setattr(Gateway, "problem", lambda self: None if notes.gateway_ready else "it is not running")
    monkeypatch.setattr(Gateway, "current", lambda self: notes.gateway_current)
    monkeypatch.setattr(HttpApi, "await_well", lambda self: notes.trouble)
    monkeypatch.setattr(Aggregation, "await_reached", note("gateway reached"))
    monkeypatch.setattr(Aggregation, "problem", lambda self: notes.aggregation_problem)
    monkeypatch.setattr(leftovers, "running", lambda podman, uid: 2)
    monkeypatch.setattr(leftovers, "remove", note("containers removed", "2 containers"))
    return notes


def _kubectl(notes: Notes, args: Sequence[str], stdin: str | None) -> str:
    """An API server that keeps the objects it is given."""
    notes.append(f"kubectl {args[0]}")
    if args[0] == "get":
        found = notes.objects.get(args[1])
        return json.dumps(found) if found else ""
    given = json.loads(stdin) if stdin else {}
    for obj in given.get("items", [given] if given else []):
        kind = obj["kind"].lower()
        spec = {**notes.objects.get(kind, {}).get("spec", {}), **obj.get("spec", {})}
        notes.objects[kind] = {**obj, "spec": spec}
    return ""


def _messages(notes: Notes, messages: MessagesProcess, options: Sequence[str]) -> None:
    notes.append(f"{messages.name} up")
    messages.folder.mkdir(exist_ok=True)
    if messages.name == "relay":
        notes.append(" ".join(options))


def _image(notes: Notes, kind: str, args: Sequence[Any]) -> Image:
    wanted = next(a for a in args if isinstance(a, str))
    notes.images.append(wanted)
    return Image(wanted if "/theirs" in wanted else f"localhost/stromboli/{kind}:1", "built")


def _operator(notes: Notes, home: Home) -> None:
    notes.append("operator up")
    home.installation.write_text("uid-of-kube-system\n")


@pytest.fixture
def installed(tmp_path: Path, notes: Notes) -> Stack:
    return on(tmp_path)


def on(tmp_path: Path, **environ: str) -> Stack:
    """The same installation, seen from a shell with these variables."""
    return printing(io.StringIO(), tmp_path, environ)


def printing(output: io.StringIO, tmp_path: Path, environ: Mapping[str, str]) -> Stack:
    """The same, with its progress in `output`."""
    return Stack(Home(tmp_path / "home"), {"PATH": os.defpath, **environ}, Progress(output, terminal=False))


def test_up_in_order(installed: Stack, notes: Notes) -> None:
    installed.up()
    steps = [note for note in notes if not note.startswith("kubectl")]
    assert steps == [
        *("podman up", "control plane up", "gateway down", "gateway up", "standin up"),
        *("operator down", "operator up", "gateway reached"),
    ]
    assert notes.index("kubectl apply") < notes.index("gateway up"), "it writes its CA into the APIService"
    assert notes.objects["apiservice"]["spec"]["service"]["port"] == 8443
    assert notes.objects["clusterrole"]["metadata"]["name"] == "stromboli-secret-keeper", "as the guides have it"
    assert notes.index("control plane up") < notes.index("kubectl wait") < notes.index("standin up")
    assert notes.images, "the images are there before the operator is"


def test_up_leaves_an_operator_that_is_ready_alone(installed: Stack, notes: Notes) -> None:
    notes.operator_ready = True
    installed.up()
    assert not [n for n in notes if n.startswith("operator")]


def test_up_starts_an_operator_of_older_code_anew(installed: Stack, notes: Notes) -> None:
    notes.operator_ready, notes.operator_current = True, False
    installed.up()
    assert [n for n in notes if n.startswith("operator")] == ["operator down", "operator up"]


def test_up_leaves_a_gateway_that_is_ready_alone(installed: Stack, notes: Notes) -> None:
    """Those who follow a run are connected to it."""
    notes.gateway_ready = True
    installed.up()
    assert [n for n in notes if n.startswith("gateway")] == ["gateway reached"]


def test_up_starts_a_gateway_of_older_code_anew(installed: Stack, notes: Notes) -> None:
    notes.gateway_ready, notes.gateway_current = True, False
    installed.up()
    assert [n for n in notes if n.startswith("gateway")] == ["gateway down", "gateway up", "gateway reached"]


def test_a_fresh_installation_can_run_something(installed: Stack, notes: Notes) -> None:
    installed.up()
    agent = yaml.safe_load(installed.home.settings.read_text())["agent"]
    assert (agent["image"], agent["cli_image"]) == ("localhost/stromboli/base:1", "localhost/stromboli/cli")
    assert agent["credentials_secret"] == notes.objects["secret"]["metadata"]["name"]
    policy = notes.objects["agentpolicy"]["spec"]
    assert (policy["network"], policy["images"]) == ("none", {"allowed": ["*", "localhost/**"]})
    assert stat.S_IMODE(installed.home.settings.stat().st_mode) == 0o600


def test_what_the_owner_changes_in_the_policy_stays(installed: Stack, notes: Notes) -> None:
    installed.up()
    notes.objects["agentpolicy"]["spec"]["images"] = {"allowed": ["python:*"]}
    installed.up()
    assert notes.objects["agentpolicy"]["spec"]["images"] == {"allowed": ["python:*"]}


def test_what_a_shell_has_set_holds_in_the_next_one(installed: Stack, notes: Notes, tmp_path: Path) -> None:
    """Also what forbids something: an allowlist must not be gone because another shell has started the operator."""
    shell = {"STROMBOLI_AGENT_IMAGE": "registry.example/theirs:1", "STROMBOLI_AGENT_ALLOWED_IMAGE_PATTERNS": "python:*"}
    on(tmp_path, **shell).up()
    installed.up()
    assert notes.images[1] == notes.images[3] == "registry.example/theirs:1"
    agent = yaml.safe_load(installed.home.settings.read_text())["agent"]
    assert agent["allowed_image_patterns"] == "python:*"


def test_what_is_wrong_is_not_kept(installed: Stack, notes: Notes, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cli_imge"):
        on(tmp_path, STROMBOLI_AGENT_CLI_IMGE="x").up()
    installed.up()
    assert "cli_imge" not in installed.home.settings.read_text()
    assert [p.name for p in installed.home.root.glob("settings*")] == ["settings.yaml"]


def gateway_settings(installed: Stack) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(installed.home.gateway_settings.read_text())
    return found


def test_what_a_shell_has_set_for_the_http_api_holds_in_the_next_one(
    installed: Stack, notes: Notes, tmp_path: Path
) -> None:
    installed.up()
    assert gateway_settings(installed) == {"server": {}, "rate_limit": {}}
    shell = {"STROMBOLI_SERVER_ADDRESS": "127.0.0.1:0", "STROMBOLI_RATE_LIMIT_RPS": "5"}
    on(tmp_path, **shell, STROMBOLI_RATE_LIMIT_ENABLED="true").up()
    installed.up()
    limit = {"enabled": "true", "rate": "5"}
    assert gateway_settings(installed) == {"server": {"address": "127.0.0.1:0"}, "rate_limit": limit}
    on(tmp_path, STROMBOLI_SERVER_ADDRESS="", STROMBOLI_RATE_LIMIT_RPS="").up()
    assert gateway_settings(installed) == {"server": {}, "rate_limit": {"enabled": "true"}}
    assert stat.S_IMODE(installed.home.gateway_settings.stat().st_mode) == 0o600


def test_a_settings_file_is_for_operator_and_gateway_and_the_environment_wins(
    installed: Stack, notes: Notes, tmp_path: Path
) -> None:
    file = tmp_path / "stromboli.yaml"
    agent = {"allowed_image_patterns": ["python:*"], "mount_claude_cli": True, "image_tag": "latest"}
    limit = {"enabled": True, "rate": 50, "burst": 100}
    server = {"address": "127.0.0.1:9090"}
    file.write_text(yaml.safe_dump({"agent": agent, "server": server, "rate_limit": limit, "auth": {"enabled": True}}))
    output = io.StringIO()
    environ = {"PATH": os.defpath, "STROMBOLI_SERVER_ADDRESS": "127.0.0.1:0"}
    Stack(installed.home, environ, Progress(output, terminal=False), file).up()
    installed.up()
    assert gateway_settings(installed) == {"server": {"address": "127.0.0.1:0"}, "rate_limit": limit}
    kept = yaml.safe_load(installed.home.settings.read_text())["agent"]
    assert (kept["allowed_image_patterns"], kept["mount_claude_cli"]) == (["python:*"], True)
    ignored = [line.partition(":")[0] for line in output.getvalue().splitlines() if "is ignored" in line]
    assert ignored == ["auth", "agent.image_tag"], "once each"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STROMBOLI_SERVER_ADDRESS": "8080"}, "STROMBOLI_SERVER_ADDRESS: '8080' is neither :PORT nor HOST:PORT"),
        ({"STROMBOLI_RATE_LIMIT_BURTS": "1"}, "did you mean burst?"),
        ({"STROMBOLI_AGENT_CLI_IMGE": "x"}, "did you mean cli_image?"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(
    environ: dict[str, str], said: str, installed: Stack, notes: Notes, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        on(tmp_path, **environ).up()
    assert said in str(refused.value)
    assert notes == []
    assert not installed.home.gateway_settings.exists()


@pytest.mark.parametrize("trouble", [None, "it answers 503: operators: none is ready"])
def test_up_says_where_the_http_api_is_and_what_is_wrong_with_it(
    trouble: str | None, installed: Stack, notes: Notes, tmp_path: Path
) -> None:
    installed.home.ensure()
    installed.gateway.http_api.record(("127.0.0.1", 8080))
    notes.trouble = trouble
    output = io.StringIO()
    printing(output, tmp_path, {}).up()
    said = "HTTP API: http://127.0.0.1:8080"
    assert output.getvalue().splitlines()[-1] == (said if trouble is None else f"{said}; {trouble}")


def test_status_has_where_the_http_api_is(installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    def url() -> str:
        return next(part for part in installed.status() if part.name == "gateway").url

    installed.home.ensure()
    assert url() == ""
    installed.gateway.http_api.record(("", 8080))
    assert url() == "http://127.0.0.1:8080"
    monkeypatch.setattr(Gateway, "pid", lambda self: None)
    assert url() == "", "nothing is there"


KEY = {"ANTHROPIC_API_KEY": "sk-1"}


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"])
def test_credentials_stay_in_a_shell_without_them(name: str, installed: Stack, notes: Notes, tmp_path: Path) -> None:
    on(tmp_path, **{name: "sk-1"}).up()
    for shell in ({}, {"ANTHROPIC_API_KEY": "sk-2"}):
        assert str(on(tmp_path, **shell).up()).startswith("Claude answers")
        assert notes.objects["secret"]["data"] == {name: base64.b64encode(b"sk-1").decode()}
    assert "standin up" not in notes
    assert notes.objects["agentpolicy"]["spec"]["network"] == "bridge"


def test_a_key_takes_the_stand_ins_place_and_a_logout_gives_it_back(
    installed: Stack, notes: Notes, tmp_path: Path
) -> None:
    installed.up()
    assert installed.standin.wanted
    on(tmp_path, **KEY).up()
    assert not installed.standin.wanted
    installed.answers_up(Offline(chosen=True))
    assert installed.standin.wanted
    on(tmp_path, **KEY).up()
    assert installed.standin.wanted, "who has logged out stays logged out"


def test_without_a_network_agents_reach_claude_by_the_relay(installed: Stack, notes: Notes, tmp_path: Path) -> None:
    notes.network = False
    output = io.StringIO()
    printing(output, tmp_path, {**KEY, "ANTHROPIC_BASE_URL": "https://gw"}).up()
    assert "--to https://gw" in notes
    policy = notes.objects["agentpolicy"]["spec"]
    assert policy["network"] == "none"
    assert policy["env"] == [{"name": "ANTHROPIC_UNIX_SOCKET", "value": str(installed.relay.socket)}]
    assert "network: none, since no tun" in output.getvalue()
    assert "load it, then `stromboli up`" in output.getvalue()
    notes.network = True
    installed.up()
    assert notes.objects["agentpolicy"]["spec"]["network"] == "bridge"
    assert not installed.relay.wanted


def test_a_login_leads_the_relay_elsewhere(installed: Stack, notes: Notes) -> None:
    notes.network = False
    for url in (None, "https://gw"):
        notes.clear()
        installed.home.ensure()
        if not installed.home.programs.exists():
            installed.control_plane_up()
        installed.answers_up(Claude("ANTHROPIC_API_KEY", "k", url))
        assert notes.index("relay down") < notes.index(f"--to {url or 'https://api.anthropic.com'}")


def test_kubectl_and_stromboli_are_on_the_path_and_nothing_else(installed: Stack, notes: Notes) -> None:
    installed.up()
    plugin = ["kubectl-stromboli", "kubectl_complete-stromboli"]
    assert sorted(p.name for p in installed.home.bin.iterdir()) == ["kubectl", *plugin, "stromboli"]
    done = subprocess.run([installed.home.bin / "stromboli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stromboli ")


def test_purge_takes_no_more_than_its_own_where_podman_stores_elsewhere(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is in a Podman goes only if that Podman is in the home."""
    asked: list[str | None] = []

    def removed(_: object, installation: str | None) -> str:
        asked.append(installation)
        return "2 containers"

    monkeypatch.setattr(leftovers, "remove", removed)
    for stores_in_home in (True, False):
        monkeypatch.setattr(PodmanService, "stores_in_home", lambda self, here=stores_in_home: here)
        installed.up()
        installed.home.podman.mkdir()
        installed.purge()
    assert asked == [None, "uid-of-kube-system"]


def test_kubectl_is_in_the_home_wherever_it_was_found(installed: Stack, notes: Notes, tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="stromboli up"):
        installed.kubectl()
    installed.up()
    assert installed.kubectl().program == installed.home.programs / "kubectl"
    assert installed.home.programs.resolve() == tmp_path / "programs"


def test_down_stops_all_and_counts_the_runs_that_go_on(installed: Stack, notes: Notes) -> None:
    installed.up()
    notes.clear()
    assert installed.down() == 2
    assert notes == [
        *("operator down", "gateway down", "standin down", "relay down"),
        *("podman down", "control plane down"),
    ]
    assert installed.home.exists


def test_purge_empties_podman_before_the_clusters_data_goes(installed: Stack, notes: Notes) -> None:
    installed.up()
    installed.home.podman.mkdir()
    notes.clear()
    installed.purge()
    steps = ["operator down", "podman up", "containers removed", "podman down", "control plane down", "storage removed"]
    assert [n for n in notes if n in steps] == ["operator down", *steps[1:3], "operator down", *steps[3:]]
    assert not installed.home.root.exists()


def test_what_cannot_be_removed_from_podman_keeps_the_home(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*args: object) -> str:
        raise LocalFailure("storage is locked")

    installed.up()
    installed.home.podman.mkdir()
    monkeypatch.setattr(leftovers, "remove", locked)
    with pytest.raises(LocalFailure, match="storage is locked"):
        installed.purge()
    assert installed.home.installation.exists()
    assert "control plane down" not in notes


def test_in_someone_elses_podman_only_our_label_goes(
    installed: Stack, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def remove(podman: object, uid: str | None) -> str:
        asked.append(uid)
        return "nothing"

    monkeypatch.setattr(PodmanService, "socket", property(lambda self: Path("/run/podman/podman.sock")))
    monkeypatch.setattr(leftovers, "remove", remove)
    installed.up()
    installed.purge()
    assert asked == ["uid-of-kube-system"]
    assert "storage removed" not in notes


def test_purging_what_never_came_up_touches_no_podman(installed: Stack, notes: Notes) -> None:
    installed.home.ensure()
    installed.purge()
    assert "containers removed" not in notes
    assert not installed.home.root.exists()


def test_status_has_every_part(installed: Stack, notes: Notes) -> None:
    notes.operator_ready = notes.gateway_ready = True
    parts = {p.name: p for p in installed.status()}
    assert list(parts) == ["podman", "etcd", "gateway", "operator"]
    assert (parts["gateway"].pid, parts["gateway"].ready) == (8, True)
    assert (parts["operator"].pid, parts["operator"].ready) == (9, True)
    installed.home.ensure()
    installed.standin.folder.mkdir()
    assert [p.name for p in installed.status()] == ["podman", "etcd", "gateway", "standin", "operator"]


def test_status_says_why_the_gateway_is_not_reached(installed: Stack, notes: Notes) -> None:
    def told() -> tuple[bool, str]:
        gateway = next(p for p in installed.status() if p.name == "gateway")
        return gateway.ready, gateway.problem

    assert told() == (False, "it is not running")
    notes.gateway_ready, notes.aggregation_problem = True, "the API server answers 503"
    assert told() == (False, "the API server answers 503")
    notes.aggregation_problem = None
    assert told() == (True, "")
