"""`stromboli images` from outside, against a read API that really serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli.__main__ import run
from stromboli.api.images import ImageRoutes
from stromboli.cli import exitcodes
from stromboli.controlplane import kubeconfig
from stromboli.errors import ImageMissing, PodmanUnavailable, Refused
from stromboli.local.home import Home
from stromboli.perform.images.discovery import Progress
from stromboli.reasons import Reason
from stromboli.registry_problem import RegistryProblem
from tests.support.fake_discovery import FakeDiscovery, inspected, row
from tests.unit.cli.read_api import ReadAPI

Out = pytest.CaptureFixture[str]
PYTHON, ALPINE, NEW = "docker.io/library/python:3.12", "docker.io/library/alpine:3", "ghcr.io/team/new:1"
MUSL = "musl 1.2 (/lib/ld-musl-x86_64.so.1); the Claude CLI needs glibc 2.17 or newer"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    found = Home(tmp_path / "home")
    found.ensure()
    monkeypatch.setenv("STROMBOLI_HOME", str(found.root))
    return found


@pytest.fixture
def discovery() -> FakeDiscovery:
    return FakeDiscovery()


@pytest.fixture
def api(discovery: FakeDiscovery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadAPI]:
    """The read API, in KUBECONFIG; the namespace there is `ns`."""
    with ReadAPI(ImageRoutes(discovery)).serving() as served:
        kubeconfig.write(tmp_path / "config", served.url, b"x", "alice", "ns")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield served


@pytest.fixture
def found(api: ReadAPI, discovery: FakeDiscovery) -> FakeDiscovery:
    """What the operator finds."""
    musl: dict[str, Any] = {"summary": {"libc": "musl 1.2", "tools": "", "size": "7.8 MB"}, "message": MUSL}
    unseen: dict[str, Any] = {
        "summary": {"libc": "", "tools": "", "size": "1 GB"},
        "message": "not inspected: Podman\x1b[2J refused it",
    }
    discovery.images = [
        row(PYTHON),
        row(ALPINE, rank=4, **musl),
        row(NEW, rank=None, **unseen),
        row("ghcr.io/other/app:1", allowed=False),
    ]
    discovery.inspected = {"python:3.12": inspected(PYTHON)}
    return discovery


def test_the_table(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "IMAGE                          RANK  COMPATIBLE     LIBC        TOOLS          SIZE\n"
        "docker.io/library/python:3.12  3     True           glibc 2.36  python 3.12.4  129 MB\n"
        "docker.io/library/alpine:3     4     False          musl 1.2    -              7.8 MB\n"
        "ghcr.io/team/new:1             -     not inspected  -           -              1 GB\n"
    )
    assert captured.err == "stromboli: not inspected: Podman\\x1b[2J refused it\n"
    assert found.asked == [("list", "ns", False)]


def test_names_only(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == [PYTHON, ALPINE, NEW]


def test_as_json(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images", "-o", "json", "-n", "ns"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == {"node": "node-1", "incomplete": 0, "images": found.images[:3]}


@pytest.mark.parametrize(("incomplete", "asked"), [([5, 2, 0], 3), ([5, 5], 2), ([5, 6], 2)])
def test_a_list_that_takes_long_is_asked_for_again_while_it_proceeds(
    found: FakeDiscovery, incomplete: list[int], asked: int
) -> None:
    found.incomplete = incomplete
    assert run(["images"]) == 0
    assert len(found.asked) == asked


def test_nothing_to_show(found: FakeDiscovery, capsys: Out) -> None:
    found.images = []
    assert run(["images"]) == 0
    assert "`stromboli images search`" in capsys.readouterr().out


def test_all_of_them(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "ALLOWED"
    assert (lines[1].split()[-1], lines[-1].split()[0], lines[-1].split()[-1]) == ("yes", "ghcr.io/other/app:1", "no")
    assert found.asked == [("list", "ns", True)]


@pytest.mark.parametrize("arguments", [[], ["--all"], ["inspect", "x"], ["search", "x"]])
def test_whoever_may_not(api: ReadAPI, found: FakeDiscovery, arguments: list[str], capsys: Out) -> None:
    api.refuse(403, "you may not list images in all namespaces")
    assert run(["images", *arguments]) == exitcodes.NOT_ALLOWED
    assert "you may not" in capsys.readouterr().err
    assert found.asked == []


def test_progress_is_shown_in_lines_where_there_is_no_terminal(found: FakeDiscovery, capsys: Out) -> None:
    found.steps = [Progress(0, 3), Progress(2, 3)]
    assert run(["images", "-o", "name"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [PYTHON, ALPINE, NEW]
    first, last = captured.err.splitlines()
    assert first == "… inspecting images"
    assert last.startswith("✓ inspecting images: 2 of 3 images (66 %)")


def test_an_error_in_the_middle(found: FakeDiscovery, capsys: Out) -> None:
    found.steps = [Progress(0, 3)]
    found.failure = PodmanUnavailable("Podman did not answer")
    assert run(["images"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "✗ inspecting images" in captured.err
    assert "stromboli: Podman did not answer" in captured.err


def test_what_is_in_an_image(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images", "inspect", "python:3.12"]) == 0
    out = capsys.readouterr().out
    assert "Image:        docker.io/library/python:3.12\n" in out
    assert "A run here:   is admitted\n" in out
    assert "Description:  for \\x1b[2Jdata\n" in out
    assert out.endswith("Tools:\n  python 3.12.4\n")


def test_what_is_in_an_image_as_json(found: FakeDiscovery, capsys: Out) -> None:
    assert run(["images", "inspect", "python:3.12", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == inspected(PYTHON)


def test_the_sentence_that_a_run_would_be_refused_with(found: FakeDiscovery, capsys: Out) -> None:
    found.inspected["alpine:3"] = inspected(ALPINE, compatible=False, message=MUSL, refusal=MUSL, untrueLabels=["no"])
    assert run(["images", "inspect", "alpine:3"]) == exitcodes.NOT_COMPATIBLE
    out = capsys.readouterr().out
    assert f"A run here:   is refused: {MUSL}\n" in out
    assert "Untrue:       no\n" in out


def test_a_name_that_a_policy_refuses_though_the_image_would_do(found: FakeDiscovery) -> None:
    found.inspected["python:3.12"] = inspected(PYTHON, refusal="spec.image: names no digest")
    assert run(["images", "inspect", "python:3.12"]) == exitcodes.NOT_ALLOWED


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Refused(Reason.ImageNotAllowed, "not allowed by AgentPolicy a"), exitcodes.NOT_ALLOWED),
        (Refused(Reason.PolicyViolation, "AgentPolicy a cannot be read"), exitcodes.NOT_ALLOWED),
        (ImageMissing("not on the node"), exitcodes.NO_SUCH_IMAGE),
        (Refused(Reason.InvalidSpec, "no reference"), 1),
        (PodmanUnavailable("no answer"), 1),
    ],
)
def test_exit_codes(found: FakeDiscovery, capsys: Out, failure: Exception, code: int) -> None:
    found.failure = failure
    assert run(["images", "inspect", "x"]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"stromboli: {failure}")
    assert captured.out == ""


def result(name: str, description: str = "", **changes: object) -> dict[str, object]:
    base = {"registry": name.partition("/")[0], "name": name, "description": description, "stars": 7}
    return base | {"official": True, "automated": False, "allowed": True} | changes


def unanswered(problem: RegistryProblem) -> dict[str, str]:
    return {"registry": "away.test", "problem": str(problem), "message": "connection\x07 refused"}


def test_a_search_names_who_did_not_answer_and_shows_the_others(found: FakeDiscovery, capsys: Out) -> None:
    found.found = {
        "answered": 1,
        "images": [result("a.test/x", "does \x1b]0;x\n all"), result("a.test/yy", official=False, allowed=False)],
        "unanswered": [unanswered(RegistryProblem.UNAVAILABLE)],
    }
    assert run(["images", "search", "x", "--limit", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "NAME       OFFICIAL  STARS  ALLOWED  DESCRIPTION\n"
        "a.test/x   yes       7      yes      does \\x1b]0;x all\n"
        "a.test/yy  no        7      no\n"
    )
    assert captured.err == "stromboli: away.test was not searched: connection\\x07 refused\n"
    assert found.asked == [("search", "ns", "x", 3)]


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (RegistryProblem.UNAVAILABLE, exitcodes.REGISTRY_AWAY),
        (RegistryProblem.UNKNOWN, exitcodes.REGISTRY_AWAY),
        (RegistryProblem.DENIED, exitcodes.NO_ACCESS),
    ],
)
def test_a_search_that_no_registry_answers(
    found: FakeDiscovery, capsys: Out, problem: RegistryProblem, code: int
) -> None:
    found.found = {"answered": 0, "images": [], "unanswered": [unanswered(problem)]}
    assert run(["images", "search", "x"]) == code
    assert capsys.readouterr().out == ""


def test_a_search_that_finds_nothing(found: FakeDiscovery, capsys: Out) -> None:
    found.found = {"answered": 1, "images": [], "unanswered": []}
    assert run(["images", "search", "x"]) == 0
    assert capsys.readouterr().out == "no registry has such an image\n"


@pytest.mark.parametrize(
    "arguments", [["images", "search", "x", "--limit", "101"], ["images", "-n", "ns", "inspect", "x"]]
)
def test_wrong_usage(found: FakeDiscovery, arguments: list[str]) -> None:
    assert run(arguments) == 2
    assert found.asked == []


def test_help_has_the_exit_codes(capsys: Out) -> None:
    for command in (["images"], ["images", "inspect"], ["images", "search"], ["images", "pull"]):
        assert run([*command, "--help"]) == 0
        out = capsys.readouterr().out
        assert all(str(code) in out for code in range(10, 15))
