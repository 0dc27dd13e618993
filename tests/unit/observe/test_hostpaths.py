"""Volumes on a node with real links: what is mounted is where they lead, and that has to be allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.observe import hostpaths
from stromboli.plan import request
from stromboli.plan.policy import Effective
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """srv is allowed, srv-evil and etc are not; links lead here and there."""
    root = tmp_path.resolve()
    for folder in ("srv/code/deep", "srv-evil", "etc", "data"):
        (root / folder).mkdir(parents=True)
    (root / "etc/shadow").write_text("x")
    (root / "srv/file").write_text("x")
    (root / "srv/inside").symlink_to(root / "srv/code")
    (root / "srv/relative").symlink_to("code/deep")
    (root / "srv/out").symlink_to(root / "etc")
    (root / "srv/up").symlink_to("../etc")
    (root / "srv/evil").symlink_to(root / "srv-evil")
    (root / "srv/shadow").symlink_to(root / "etc/shadow")
    (root / "srv/slash").symlink_to("/")
    (root / "srv/twice").symlink_to("out")
    (root / "srv/nowhere").symlink_to(root / "gone")
    (root / "srv/circle").symlink_to("circle")
    (root / "srv-link").symlink_to(root / "srv")
    return root


def _allowing(*folders: Path, read_only: bool = False, **settings: Any) -> Effective:
    allowed = [{"path": str(f), "readOnly": read_only} for f in folders]
    return effective(policy("node", volumes={"allowed": allowed}), **settings)


def _resolved(under: Effective, *texts: str) -> tuple[Volume, ...]:
    return asyncio.run(hostpaths.resolve(request.build(spec(volumes=list(texts)), under), under))


def _refused(under: Effective, *texts: str) -> Refused:
    with pytest.raises(Refused) as refusal:
        _resolved(under, *texts)
    return refusal.value


@pytest.mark.parametrize(
    ("written", "real"),
    [
        ("srv", "srv"),
        ("srv/code", "srv/code"),
        ("srv/code/", "srv/code"),
        ("srv/file", "srv/file"),
        ("srv/inside", "srv/code"),
        ("srv/inside/deep", "srv/code/deep"),
        ("srv/relative", "srv/code/deep"),
    ],
)
def test_inside_the_allowed_folder(node: Path, written: str, real: str) -> None:
    assert _resolved(_allowing(node / "srv"), f"{node}/{written}:/w:ro") == (Volume(str(node / real), "/w", True),)


@pytest.mark.parametrize("link", ["out", "up", "evil", "shadow", "slash", "twice", "up/../etc", "inside/../../etc"])
def test_a_link_out_of_the_allowed_folder_is_refused(node: Path, link: str) -> None:
    under = _allowing(node / "srv")
    refusal = _refused(under, f"{node}/srv/{link}:/w")
    if ".." in link.split("/"):
        assert refusal.reason is Reason.InvalidSpec
        return
    assert refusal.reason is Reason.PolicyViolation
    assert "is not allowed by AgentPolicy node" in refusal.message


@pytest.mark.parametrize("path", ["srv/out/shadow", "srv/slash/etc", "srv/twice/shadow"])
def test_a_path_that_goes_through_a_link_is_followed_to_its_end(node: Path, path: str) -> None:
    assert _refused(_allowing(node / "srv"), f"{node}/{path}:/w").reason is Reason.PolicyViolation


def test_a_link_out_of_one_allowed_folder_into_another(node: Path) -> None:
    (node / "srv/data").symlink_to(node / "data")
    under = _allowing(node / "srv", node / "data")
    assert _resolved(under, f"{node}/srv/data:/w") == (Volume(str(node / "data"), "/w", False),)


def test_a_link_from_a_folder_to_write_into_one_to_read(node: Path) -> None:
    (node / "srv/data").symlink_to(node / "data")
    allowed = [{"path": str(node / "srv")}, {"path": str(node / "data"), "readOnly": True}]
    under = effective(policy("node", volumes={"allowed": allowed}))
    assert _refused(under, f"{node}/srv/data:/w").reason is Reason.PolicyViolation
    assert _resolved(under, f"{node}/srv/data:/w:ro")[0].read_only


def test_every_list_is_asked_about_the_end_of_the_link(node: Path) -> None:
    under = _allowing(node, allowed_volumes=(str(node / "srv"),))
    assert _resolved(under, f"{node}/srv/inside:/w")
    assert "the operator's settings" in _refused(under, f"{node}/srv/out:/w").message


def test_an_allowed_folder_may_be_a_link_itself(node: Path) -> None:
    under = _allowing(node / "srv-link")
    assert _resolved(under, f"{node}/srv-link/code:/w") == (Volume(str(node / "srv/code"), "/w", False),)
    assert _refused(under, f"{node}/srv-link/out:/w").reason is Reason.PolicyViolation


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("srv/gone", "No such file or directory"),
        ("srv/nowhere", "No such file or directory"),
        ("srv/circle", "Too many levels of symbolic links"),
        ("srv/file/x", "Not a directory"),
    ],
)
def test_what_is_not_on_the_node(node: Path, path: str, why: str) -> None:
    refusal = _refused(_allowing(node / "srv"), f"{node}/srv:/ok", f"{node}/{path}:/w")
    assert refusal.reason is Reason.InvalidSpec
    assert refusal.message == f"spec.volumes[1]: {node}/{path} is not on the node ({why}); create the folder first"


def test_no_volumes_need_no_node() -> None:
    assert _resolved(effective()) == ()
