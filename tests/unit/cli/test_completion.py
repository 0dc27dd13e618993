"""Completion in shells and of the kubectl plugin, and the plugin's own name."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from stromboli import __main__
from stromboli.__main__ import run as stromboli
from stromboli.cli.completion import for_kubectl
from tests.support.fake_api_server import FakeApiServer, Reply, Request
from tests.unit.cli.cluster import api as api
from tests.unit.cli.cluster import run

Out = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[3]


def completed(*words: str) -> list[str]:
    """The completions, and what the shell is to do besides."""
    return for_kubectl(words, "kubectl stromboli").splitlines()


def test_commands_and_options_are_completed() -> None:
    assert [line.partition("\t")[0] for line in completed("res")] == ["resume", ":4"]
    assert "--timeout" in [line.partition("\t")[0] for line in completed("wait", "a", "--t")]
    assert completed("get", "-o", "w") == ["wide", ":4"]


def test_names_come_from_the_cluster(api: FakeApiServer) -> None:
    for name, namespace in (("mine", "ns"), ("more", "ns"), ("other", "ns"), ("theirs", "two")):
        api.add("agentruns", run(name, namespace))
    api.add("agentsessions", {"metadata": {"name": "talk", "namespace": "ns"}})
    api.add("namespaces", {"metadata": {"name": "two"}})
    assert completed("get", "m") == ["mine", "more", ":4"]
    assert completed("cancel", "mine", "") == ["more", "other", ":4"]
    assert completed("wait", "-n", "two", "") == ["theirs", ":4"]
    assert completed("rerun", "") == ["mine", "more", "other", ":4"]
    assert completed("logs", "o") == ["other", ":4"]
    assert completed("messages", "") == ["talk", ":4"]
    assert completed("run", "image", "--session", "t") == ["talk", ":4"]
    assert completed("get", "-n", "") == ["two", ":4"]


@pytest.mark.parametrize("words", [["run", "-f", ""], ["get", "--kubeconfig", ""], ["run", "--json-schema", "x"]])
def test_files_are_left_to_the_shell(words: list[str]) -> None:
    assert completed(*words) == [":0"]


def test_a_cluster_that_does_not_answer_has_no_names(
    api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Out
) -> None:
    monkeypatch.setattr("stromboli.kube.user.QUIET", 0.3)

    def slow(request: Request) -> None:
        time.sleep(1.0)

    api.before = slow
    began = time.monotonic()
    assert completed("get", "") == [":4"]
    assert time.monotonic() - began < 0.9
    api.before = lambda request: None
    api.routes["/apis/stromboli.dev/v1alpha1/namespaces/ns/agentruns"] = lambda request: Reply(body={"items": [{}]})
    assert completed("get", "") == [":4"]
    for broken in ("", "x: [", "[]"):
        (tmp_path / "config").write_text(broken)
        assert completed("get", "") == [":4"]
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert completed("get", "") == [":4"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, capsys: Out) -> None:
    assert stromboli(["completion", shell]) == 0
    assert "_STROMBOLI_COMPLETE" in capsys.readouterr().out


def test_bash_completes_with_the_script(capsys: Out, tmp_path: Path) -> None:
    assert stromboli(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    program = tmp_path / "stromboli"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m stromboli "$@"\n')
    program.chmod(0o755)
    typed = f"""PATH={tmp_path}:$PATH; . {tmp_path}/script
    COMP_WORDS=(stromboli res) COMP_CWORD=1; _stromboli_completion stromboli; echo "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True)
    assert done.stdout == "resume\n"


def test_as_a_plugin_it_has_its_own_name(api: FakeApiServer, capsys: Out) -> None:
    program = "kubectl stromboli"
    assert stromboli(["get", "--help"], program) == 0
    assert capsys.readouterr().out.startswith("Usage: kubectl stromboli get ")
    assert stromboli(["get", "none"], program) == 1
    assert "`kubectl stromboli get -n ns`" in capsys.readouterr().err
    assert stromboli(["nothing"], program) == 2
    assert "Usage: kubectl stromboli " in capsys.readouterr().err


def test_the_console_scripts_are_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"stromboli", "kubectl-stromboli", "kubectl_complete-stromboli"}
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert module == __main__.__name__
        assert callable(getattr(__main__, function))
