"""The files of an environment and its variables: on the node, in the run, in a ConfigMap."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from stromboli.compose.document.load import Source, load
from stromboli.errors import ComposeProblem, NotPermitted, Unreadable, Waiting
from stromboli.models.environment import Environment
from stromboli.observe import hostfiles, stackfiles, stacks
from stromboli.observe.stacks import Project
from stromboli.reasons import Reason
from tests.support.builders import effective, policy
from tests.support.fake_cluster import FakeCluster

FILE = "services: {db: {image: postgres}}\n"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has just written counts as written."""
    monkeypatch.setattr(stackfiles, "SETTLED", 0.0)


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """The allowed folder, with a project."""
    folder = tmp_path.resolve() / "srv"
    (folder / "app").mkdir(parents=True)
    (folder / "app/compose.yaml").write_text(FILE)
    (tmp_path / "secret").write_text("SECRET=hidden")
    return folder


def project(srv: Path, cluster: FakeCluster | None = None, session: str = "work", **fields: Any) -> Project:
    environment = Environment.model_validate({"type": "compose"} | fields)
    under = effective(policy("node", volumes={"allowed": [{"path": str(srv), "readOnly": True}]}))
    return asyncio.run(stacks.project(cluster or FakeCluster(), "team", environment, under, session))


def problem(srv: Path, **fields: Any) -> ComposeProblem:
    with pytest.raises(ComposeProblem) as refused:
        project(srv, **fields)
    return refused.value


def variables(srv: Path, dotenv: str = "", **env: str) -> dict[str, str]:
    (srv / "app/.env").write_text(dotenv)
    given = [{"name": name, "value": value} for name, value in env.items()]
    return dict(project(srv, path=f"{srv}/app/compose.yaml", env=given).variables)


# --- on the node ---


def test_a_file_on_the_node(srv: Path) -> None:
    found = project(srv, path=f"{srv}//app/./compose.yaml")
    assert found.sources == (Source(f"{srv}/app/compose.yaml", f"{srv}/app", FILE.encode()),)
    assert found.variables == {"PWD": f"{srv}/app", "COMPOSE_PROJECT_NAME": "work"}
    assert found.notices == ()


def test_several_files_in_their_order_are_the_first_ones_project(srv: Path) -> None:
    (srv / "other").mkdir()
    (srv / "other/over.yaml").write_text("services: {db: {image: redis}}\n")
    (srv / "other/.env").write_text("A=other")
    found = project(srv, paths=[f"{srv}/app/compose.yaml", f"{srv}/other/over.yaml"])
    assert [source.directory for source in found.sources] == [f"{srv}/app", f"{srv}/other"]
    assert found.variables == {"PWD": f"{srv}/app", "COMPOSE_PROJECT_NAME": "work"}
    document = asyncio.run(hostfiles.in_time(load, found.sources, found.variables, found.files))
    image = document.root.at(("services", "db", "image"))
    assert image is not None
    assert (image.value, document.directory) == ("redis", f"{srv}/app")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"path": "{}/app/gone.yaml"}, "spec.environment.path: {}/app/gone.yaml is not there"),
        ({"path": "{}/app"}, "spec.environment.path: {}/app is a folder, not a regular file"),
        ({"path": "{}/app/pipe"}, "spec.environment.path: {}/app/pipe is a named pipe, not a regular file"),
        ({"paths": ["{}/app/compose.yaml", "{}/gone"]}, "spec.environment.paths[1]: {}/gone is not there"),
        ({"path": "{}/app/large"}, "spec.environment.path: {}/app/large is too large: at most 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read(srv: Path, fields: dict[str, Any], said: str) -> None:
    os.mkfifo(srv / "app/pipe")
    with (srv / "app/large").open("wb") as large:
        large.truncate((1 << 20) + 1)
    filled = {
        key: [each.format(srv) for each in value] if isinstance(value, list) else value.format(srv)
        for key, value in fields.items()
    }
    refused = problem(srv, **filled)
    assert str(refused) == said.format(srv)
    assert not isinstance(refused, NotPermitted)


def test_a_file_outside_the_allowed_folders(srv: Path) -> None:
    (srv / "link.yaml").symlink_to("../secret")
    for path in (f"{srv.parent}/secret", f"{srv}/link.yaml"):
        refused = problem(srv, path=path)
        assert isinstance(refused, NotPermitted)
        assert refused.key == "spec.environment.path"
        assert "hidden" not in str(refused)


def test_files_that_the_file_names_are_read_as_it_is_itself(srv: Path) -> None:
    (srv / "app/db.env").write_text("A=b")
    found = project(srv, path=f"{srv}/app/compose.yaml")
    assert found.files.read(f"{srv}/app/db.env", 100) == b"A=b"
    with pytest.raises(Unreadable):
        found.files.read(f"{srv.parent}/secret", 100)


@pytest.mark.parametrize(("file", "permitted"), [("../../secret", False), ("gone.yaml", True)])
def test_a_file_that_is_extended_is_refused_as_it_is_itself(srv: Path, file: str, permitted: bool) -> None:
    (srv / "app/compose.yaml").write_text(f"services: {{db: {{extends: {{file: {file}, service: db}}}}}}\n")
    found = project(srv, path=f"{srv}/app/compose.yaml")
    with pytest.raises(ComposeProblem) as refused:
        load(found.sources, found.variables, found.files)
    assert refused.value.key == "services.db.extends.file"
    assert isinstance(refused.value, NotPermitted) == (not permitted)
    assert "hidden" not in str(refused.value)


def test_a_file_system_that_does_not_answer_is_waited_for(srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostfiles, "AT_ONCE", 0)
    monkeypatch.setattr(hostfiles, "PATIENCE", 0.05)
    with pytest.raises(Waiting, match=r"^spec.environment: the file system at .* does not respond") as waiting:
        project(srv, path=f"{srv}/app/compose.yaml")
    assert waiting.value.reason is Reason.WaitingForReference


# --- variables ---


def test_the_runs_own_come_before_the_files(srv: Path) -> None:
    found = variables(srv, "A=file\nB=file\nC=${A}-${PWD}\nEMPTY=file\n", A="run", EMPTY="")
    assert found == {
        "A": "run",
        "B": "file",
        "C": f"run-{srv}/app",
        "EMPTY": "",
        "PWD": f"{srv}/app",
        "COMPOSE_PROJECT_NAME": "work",
    }


def test_the_operators_environment_answers_nothing(srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("A", "operator")
    found = variables(srv, "A\nB=${HOME}${A:-none}\nHOME\n")
    assert found == {"B": "none", "PWD": f"{srv}/app", "COMPOSE_PROJECT_NAME": "work"}


def test_the_folder_is_not_the_files_to_say(srv: Path) -> None:
    assert variables(srv, "PWD=/etc")["PWD"] == f"{srv}/app"
    assert variables(srv, PWD="/mine")["PWD"] == "/mine"


@pytest.mark.parametrize(
    ("session", "name"), [("work", "work"), ("My.App-2", "myapp-2"), ("-_x", "x"), ("ü", ""), ("a b_c", "ab_c")]
)
def test_the_projects_name(srv: Path, session: str, name: str) -> None:
    found = project(srv, session=session, path=f"{srv}/app/compose.yaml")
    assert found.variables["COMPOSE_PROJECT_NAME"] == name


def test_variables_that_are_composes_own_are_named(srv: Path) -> None:
    (srv / "app/.env").write_text("COMPOSE_PROFILES=dev\nCOMPOSE_FILE=a.yaml\nCOMPOSE_PROJECT_NAME=mine\n")
    found = project(srv, path=f"{srv}/app/compose.yaml")
    assert found.notices == (
        f"COMPOSE_FILE in {srv}/app/.env has no effect; use spec.environment.paths",
        f"COMPOSE_PROFILES in {srv}/app/.env has no effect; use spec.environment.profiles",
    )
    assert found.variables["COMPOSE_PROJECT_NAME"] == "mine"


@pytest.mark.parametrize("what", ["pipe", "folder", "link out", "link in", "text"])
def test_a_file_of_variables_that_is_none(srv: Path, what: str) -> None:
    path = srv / "app/.env"
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link out":
            path.symlink_to("../../secret")
        case "link in":
            (srv / "env").write_text("A=linked")
            path.symlink_to("../env")
            assert project(srv, path=f"{srv}/app/compose.yaml").variables["A"] == "linked"
            return
        case _:
            path.write_text("A=b\nthis is a hidden text\n")
    refused = problem(srv, path=f"{srv}/app/compose.yaml")
    assert refused.key == "spec.environment"
    assert f"{srv}/app/.env" in str(refused)
    assert "hidden" not in str(refused)
    assert isinstance(refused, NotPermitted) == (what == "link out")


# --- elsewhere ---


def test_in_the_run_itself(srv: Path) -> None:
    found = project(srv, inline=FILE, env=[{"name": "A", "value": "b"}])
    assert found.sources == (Source("inline", None, FILE.encode()),)
    assert found.variables == {"A": "b", "COMPOSE_PROJECT_NAME": "work"}
    with pytest.raises(Unreadable, match=r"use environment\.path"):
        found.files.read(f"{srv}/app/compose.yaml", 100)


def test_in_a_config_map(srv: Path) -> None:
    cluster = FakeCluster()
    ref = {"name": "stack", "key": "compose.yaml"}
    with pytest.raises(Waiting) as waiting:
        project(srv, cluster, configMapKeyRef=ref)
    said = "spec.environment.configMapKeyRef: the ConfigMap stack is not in namespace team yet"
    assert (waiting.value.reason, waiting.value.message) == (Reason.WaitingForReference, said)
    cluster.config_maps["team", "stack"] = {"other": b""}
    with pytest.raises(Waiting, match=r"has no key compose\.yaml yet; its keys are other"):
        project(srv, cluster, configMapKeyRef=ref)
    cluster.config_maps["team", "stack"] = {"compose.yaml": FILE.encode()}
    found = project(srv, cluster, configMapKeyRef=ref)
    assert found.sources == (Source("ConfigMap stack, key compose.yaml", None, FILE.encode()),)
    assert "PWD" not in found.variables
