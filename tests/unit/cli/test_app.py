"""The command line from outside: what is printed, where, and with which exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stromboli.__main__ import run
from stromboli.cli import show
from stromboli.cli.app import app
from stromboli.controlplane import kubeconfig
from stromboli.errors import LocalFailure
from stromboli.local import doctor
from stromboli.local.answers import Offline
from stromboli.local.doctor import Check
from stromboli.local.home import Home
from stromboli.local.http_api import HttpApi
from stromboli.local.stack import PartStatus, Stack

ROOT = Path(__file__).parents[3]
HEAVY = ("aiohttp", "httpx2", "kopf", "lightkube", "pydantic", "rich", "yaml")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An installation's place that is empty; nothing of the machine's own is looked at."""
    monkeypatch.setenv("STROMBOLI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    return Home(tmp_path / "home")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"stromboli {declared}\n"


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 1)])
def test_status_fails_where_a_part_is_down(ready: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [PartStatus("podman", 1, True, "/s"), PartStatus("operator", 2, ready, "/l")]
    monkeypatch.setattr(Stack, "status", lambda self: parts)
    assert run(["status"]) == code


def test_status_shows_where_the_http_api_is_and_where_metrics_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = PartStatus("gateway", 2, True, "/l", url="http://127.0.0.1:8080", metrics="http://127.0.0.1:8080/metrics")
    operator = PartStatus("operator", 3, True, "/l", metrics="http://127.0.0.1:7/metrics")
    monkeypatch.setattr(Stack, "status", lambda self: [PartStatus("podman", 1, True, "/s"), gateway, operator])
    assert run(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "HTTP API: http://127.0.0.1:8080",
        "metrics: http://127.0.0.1:8080/metrics (gateway)",
        "metrics: http://127.0.0.1:7/metrics (operator)",
    ]
    assert run(["status", "-o", "json"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert (parts["gateway"]["url"], "url" in parts["podman"]) == ("http://127.0.0.1:8080", False)
    assert (parts["operator"]["metrics"], "metrics" in parts["podman"]) == ("http://127.0.0.1:7/metrics", False)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert [name for name in app.commands if f"  {name} " not in listed] == []


@pytest.mark.parametrize("command", list(app.commands))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: stromboli {command}")


def test_the_start_is_light() -> None:
    probe = f"import sys, stromboli.cli.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [["get"], ["wait", "a"], ["cancel", "a"], ["run", "i", "x", "-d"], ["messages", "a"], ["images"]]
)
def test_asking_the_cluster_is_light(arguments: list[str], tmp_path: Path) -> None:
    """What a command loads for that takes no longer than the answer; a kubeconfig is YAML."""
    kubeconfig.write(tmp_path / "config", "https://127.0.0.1:9", b"", "t")
    probe = f"""import sys; from stromboli.__main__ import run; code = run({arguments!r})
print([code, *(m for m in {HEAVY!r} if m in sys.modules)])"""
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PYTHONPATH": ":".join(sys.path), "KUBECONFIG": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "127.0.0.1:9 does not respond" in done.stderr
    assert done.stdout.strip() == "[1, 'yaml']"


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["upp"]) == 2
    assert "No such command 'upp'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LocalFailure("no room", "make some"), 1, "stromboli: no room\n  → make some\n"),
        (PermissionError(13, "Permission denied", "/srv/x"), 1, "stromboli: /srv/x: Permission denied\n"),
        (LocalFailure("podman said \x1b[2J", "look\r"), 1, "stromboli: podman said \\x1b[2J\n  → look\\x0d\n"),
        (OSError("something else"), 1, "stromboli: something else\n"),
        (KeyboardInterrupt(), 130, "stromboli: interrupted\n"),
    ],
)
def test_no_traceback_for_what_a_person_can_mend(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Stack) -> None:
        raise error

    monkeypatch.setattr(Stack, "up", fail)
    assert run(["up"]) == code
    assert capsys.readouterr().err.strip() == said.strip()


# As a terminal starts it: whoever starts the tests in the background, or by nohup, has had signals ignored.
_AT_WORK = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from stromboli import __main__
from stromboli.controlplane import scratch
from stromboli.local.stack import Stack

cache = pathlib.Path(sys.argv.pop())

def up(self):
    with scratch.folder(cache):
        print("at work", flush=True)
        time.sleep(600)

Stack.up = up
__main__.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: str(n.name))
def test_a_command_that_is_ended_removes_what_it_was_making(number: signal.Signals, tmp_path: Path) -> None:
    """A closed terminal too: a build of the control plane has gigabytes under way."""
    command = [sys.executable, "-c", _AT_WORK, "up", str(tmp_path / "cache")]
    environ = {"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        process.send_signal(number)
        assert process.communicate(timeout=30)[1].strip() == b"stromboli: interrupted"
    assert process.returncode == 130
    assert list((tmp_path / "cache").iterdir()) == []


def test_up_prints_where_the_cluster_and_the_http_api_are(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Stack, "up", lambda self: Offline())
    home.ensure()
    HttpApi(home, {}).record(("127.0.0.1", 8080))
    assert run(["up"]) == 0
    said = capsys.readouterr()
    assert said.out == f"KUBECONFIG={home.controlplane}/kubeconfig\nSTROMBOLI_URL=http://127.0.0.1:8080\n"
    assert "offline stand-in answers" in said.err
    assert "`stromboli login`" in said.err


def test_up_with_a_file_that_is_missing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--config", "/none.yaml"]) == 1
    assert "--config: /none.yaml cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["down"], ["down", "--purge"]])
def test_down_where_nothing_is(arguments: list[str], home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert "nothing to stop" in capsys.readouterr().out
    assert not home.root.exists()


def test_purge_says_what_stays_and_cache_removes_that_too(
    tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache/stromboli").mkdir(parents=True)
    (tmp_path / "cache/stromboli/etcd").write_bytes(b"x" * 2_000_000)
    assert run(["down", "--purge"]) == 0
    assert f"kept {tmp_path}/cache/stromboli (2 MB" in (said := capsys.readouterr().out)
    assert "`stromboli down --purge --cache` removes it" in said
    assert run(["down", "--cache"]) == 2
    assert run(["down", "--purge", "--cache"]) == 0
    assert f"removed {tmp_path}/cache/stromboli" in capsys.readouterr().out
    assert not (tmp_path / "cache/stromboli").exists()


def test_purge_does_not_touch_a_folder_that_is_not_ours(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.root.mkdir()
    (home.root / "thesis.tex").write_text("years of work")
    assert run(["down", "--purge"]) == 0
    assert (home.root / "thesis.tex").exists()


@pytest.mark.parametrize(("going", "said"), [(0, ""), (1, "1 run continues"), (3, "3 runs continue")])
def test_down_tells_of_runs_that_go_on(
    going: int, said: str, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.ensure()
    monkeypatch.setattr(Stack, "down", lambda self: going)
    assert run(["down"]) == 0
    assert capsys.readouterr().out.startswith(said)


def test_status_as_json_has_each_parts_pid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "-o", "json"]) == 1, "all of them are down"
    parts = json.loads(capsys.readouterr().out)
    assert list(parts) == ["podman", "etcd", "kube-apiserver", "kube-controller-manager", "gateway", "operator"]
    assert parts["gateway"]["problem"] == "it is not running"
    assert parts["operator"]["pid"] is None
    assert parts["operator"]["ready"] is False


def test_status_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PART", "STATE", "PID", "WHERE"]
    assert lines[-1].split()[:3] == ["operator", "down", "-"]


def test_status_says_what_is_wrong_with_a_part_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        PartStatus("gateway", 3, False, "/l", "it answers 503: no front proxy"),
        PartStatus("operator", 2, True, "/l"),
    ]
    monkeypatch.setattr(Stack, "status", lambda self: parts)
    assert run(["status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["gateway", "starting", "3"]
    assert lines[-1] == "gateway: it answers 503: no front proxy; `stromboli up` repairs it"


@pytest.mark.parametrize("command", ["env", "kubeconfig"])
def test_what_needs_an_installation_says_how_to_get_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "`stromboli up` creates one" in captured.err


def test_kubeconfig_prints_the_path_alone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.ensure()
    assert run(["kubeconfig"]) == 0
    assert capsys.readouterr().out == f"{home.controlplane}/kubeconfig\n"


def test_env_in_a_shell_with_spaces_and_quotes_in_the_paths() -> None:
    folder = Path("/srv/a b's $HOME")
    text = show.exports(folder / "kubeconfig", folder / "bin", folder / "podman.sock", "/usr/bin:/bin")
    shell = f'{text}\nprintf "%s\\n" "$KUBECONFIG" "$PATH" "$CONTAINER_HOST"'
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{folder}/kubeconfig",
        f"{folder}/bin:/usr/bin:/bin",
        f"unix://{folder}/podman.sock",
    ]


def test_env_twice_does_not_lengthen_path() -> None:
    assert "PATH" not in show.exports(Path("/k"), Path("/b"), Path("/s"), "/b:/usr/bin")


@pytest.mark.parametrize(
    ("check", "code", "said"),
    [
        (Check("podman", True, "5.4.2"), 0, "ok       podman: 5.4.2"),
        (Check("npm", False, "none", "get it", required=False), 0, "note     npm: none\n         → get it"),
        (Check("podman", False, "none", "get it"), 1, "MISSING  podman: none\n         → get it"),
    ],
)
def test_doctor(
    check: Check, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda context: [check])
    assert run(["doctor"]) == code
    assert capsys.readouterr().out.strip() == said
    assert run(["doctor", "-o", "json"]) == code
    assert json.loads(capsys.readouterr().out)[0]["name"] == check.name


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    home.ensure()
    shell = f"{sys.executable} -m stromboli status | true"
    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        env={"PYTHONPATH": ":".join(sys.path), "STROMBOLI_HOME": str(home.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
