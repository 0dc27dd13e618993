"""What an attempt's plan has for the supervisor and the CLI, beside what the spec says."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

from tests.unit.reconcile.conftest import Inside, Node, Roots, policy

IMAGE = "localhost/mine:1"


def _watch(node: Node) -> list[Path]:
    """Copies of the plans of all attempts, in order."""
    seen: list[Path] = []

    async def supervisor(inside: Inside) -> None:
        seen.append(inside.plan)
        await node.supervise(inside)

    node.supervisor = supervisor
    return seen


async def test_policies_and_image_say_how_the_cli_is_configured(node: Node, roots: Roots, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    for name, content in (("root/.claude/CLAUDE.md", "Be brief."), ("etc/claude-code/managed-settings.json", "{}")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    node.fake.add_image(IMAGE, root=root, Env=["HOME=/root"])
    node.cluster.all_policies[:] = [policy(env=[{"name": "HTTPS_PROXY", "value": "http://proxy"}])]
    plans = _watch(node)
    node.run(image=IMAGE)
    async with node.process():
        await node.finished()
    [plan] = plans
    managed = sorted(p.relative_to(plan / "managed") for p in (plan / "managed").rglob("*") if p.is_file())
    assert str(managed[-1]) == "managed-settings.json"
    assert json.loads((plan / "managed" / managed[0]).read_text()) == {"env": {"HTTPS_PROXY": "http://proxy"}}
    with tarfile.open(fileobj=io.BytesIO((plan / "claude.tar").read_bytes())) as tar:
        assert tar.getnames() == ["CLAUDE.md"]


async def test_only_a_beginning_that_has_succeeded_is_recalled(node: Node) -> None:
    plans = _watch(node)
    for name in ("first", "second"):
        node.run(name, session={"name": "story"}, lifecycle={"onCreateCommand": ["install"]})
    node.run("other", session={"name": "bare"})
    async with node.process():
        await node.finished()
    steps = {plan.parent.name.rsplit("-", 1)[0]: (plan / "steps").read_text() for plan in plans}
    recalls = {n: "_recalls=1" in steps[node.get(n)["metadata"]["uid"]] for n in ("first", "second", "other")}
    assert recalls == {"first": False, "second": True, "other": False}


async def test_the_images_user_keeps_its_groups(node: Node, roots: Roots, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("app:x:1000:1001::/home/app:/bin/sh\n")
    (root / "etc/group").write_text("app:x:1001:\nextra:x:4242:app\n")
    node.fake.add_image(IMAGE, root=root, User="app")
    bodies = []

    async def supervisor(inside: Inside) -> None:
        bodies.append(inside.container.body)
        await node.supervise(inside)

    node.supervisor = supervisor
    node.run(image=IMAGE)
    async with node.process():
        await node.finished()
    assert [(body["user"], body["groups"]) for body in bodies] == [("1000:1001", ["4242"])]
