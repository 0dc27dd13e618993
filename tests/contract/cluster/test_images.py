"""What the operator asks of a cluster about AgentImages, on the fake one and a real API server.

Then what only a real one does: it checks their fields, prints them and waits for them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.errors import ClusterUnavailable, Conflict, Rejected
from stromboli.kube.plain import PAGE
from stromboli.models.image import ImageStatus
from tests.contract.cluster.conftest import IMAGE, Bed, Real
from tests.support.cluster import Kubectl

STATUS = {"reference": "docker.io/library/python:3.12", "observedGeneration": 1, "nodes": [{"name": "node-a"}]}
DIGEST = f"sha256:{'d' * 64}"


async def test_one_is_read_whole(bed: Bed) -> None:
    made = bed.image("a", refresh="1h", deletionPolicy="Delete")
    found = await bed.cluster.image(bed.space, "a")
    assert found == made
    assert found.spec == {**IMAGE, "refresh": "1h", "deletionPolicy": "Delete"}
    assert (found.KIND, found.reference, found.generation, found.status.generation) == (
        "AgentImage",
        "python:3.12",
        1,
        -1,
    )
    assert await bed.cluster.image(bed.space, "b") is None
    assert await bed.cluster.image("nowhere", "a") is None
    bed.delete_image("a")
    assert await bed.cluster.image(bed.space, "a") is None


async def test_a_list_has_all_its_pages(bed: Bed) -> None:
    made = {bed.image(f"i{n}").uid for n in range(PAGE + 2)}
    assert {image.uid async for image in bed.cluster.images()} == made


async def test_a_status_is_written_as_of_the_version_that_was_read(bed: Bed) -> None:
    old = bed.image("a")
    new = await bed.cluster.write_status(old, ImageStatus.of(STATUS))
    assert new.status.wire == STATUS
    assert (new.version != old.version, new.spec, new.generation) == (True, IMAGE, 1)
    assert new.status.held["node-a"].id == ""
    again = await bed.cluster.write_status(new, ImageStatus.of(STATUS))
    assert again.version == new.version
    with pytest.raises(Conflict):
        await bed.cluster.write_status(old, ImageStatus.of({**STATUS, "rank": 3}))
    changed = bed.change_image("a", refresh="2h")
    assert (changed.generation, changed.status.generation) == (2, 1)
    with pytest.raises(Conflict):
        await bed.cluster.write_status(new, ImageStatus.of({**STATUS, "rank": 3}))
    found = await bed.cluster.image(bed.space, "a")
    assert found == changed


async def test_one_that_is_gone_cannot_be_written(bed: Bed) -> None:
    old = bed.image("a")
    bed.delete_image("a")
    with pytest.raises(Conflict):
        await bed.cluster.write_status(old, ImageStatus.of(STATUS))


async def test_a_status_of_another_shape_is_rejected(bed: Bed) -> None:
    with pytest.raises(Rejected):
        await bed.cluster.write_status(bed.image("a"), ImageStatus.of({**STATUS, "rank": "first"}))


async def test_a_server_that_does_not_answer_says_nothing_about_images(bed: Bed) -> None:
    gone = bed.unreachable()
    with pytest.raises(ClusterUnavailable):
        await gone.image(bed.space, "a")
    with pytest.raises(ClusterUnavailable):
        _ = [image async for image in gone.images()]


# --- what the API server does with them ---


def manifest(space: str, name: str = "a", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": space}
    return {"apiVersion": "stromboli.dev/v1alpha1", "kind": "AgentImage", "metadata": meta, "spec": {**IMAGE, **spec}}


REFUSED = {
    "no reference": ({"image": "docker://python"}, "spec.image: Invalid value: ", "is not an image reference: write ["),
    "empty": ({"image": ""}, "spec.image: Invalid value: ", "should be at least 1 chars long"),
    "a number": ({"refresh": "90"}, "spec.refresh: Invalid value: ", "needs a unit: write 90s for seconds"),
    "days": ({"refresh": "2d"}, "spec.refresh: Invalid value: ", "the longest unit is h: write 24h for each day"),
    "too often": ({"refresh": "59s"}, "spec.refresh: ", "more often than once a minute; write 1m or more, such as 6h"),
    "too seldom": ({"refresh": "169h"}, "spec.refresh: Invalid value: ", "is longer than a week; write at most 168h"),
    "an unknown policy": (
        {"pullPolicy": "Sometimes"},
        "spec.pullPolicy: Unsupported value: ",
        'supported values: "IfNotPresent", "Always", "Never"',
    ),
    "an unknown end": ({"deletionPolicy": "Keep"}, "spec.deletionPolicy: ", 'supported values: "Retain", "Delete"'),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_told_with_the_field_and_what_would_be_right(
    real: Real, admin: Kubectl, case: str
) -> None:
    spec, field, sentence = REFUSED[case]
    done = admin.attempt("apply", "-f", "-", stdin=json.dumps(manifest(real.space, **spec)))
    assert done.returncode == 1
    assert field in done.stderr
    assert sentence in done.stderr


@pytest.mark.parametrize("refresh", ["1m", "60s", "6h", "168h"])
async def test_a_refresh_from_a_minute_to_a_week_is_accepted(real: Real, admin: Kubectl, refresh: str) -> None:
    admin("apply", "-f", "-", stdin=json.dumps(manifest(real.space, refresh=refresh)))


async def test_the_image_is_immutable_and_the_rest_is_not(real: Real, admin: Kubectl) -> None:
    more = {"refresh": "2h", "pullPolicy": "Always", "deletionPolicy": "Delete"}
    admin("apply", "-f", "-", stdin=json.dumps(manifest(real.space)))
    admin("apply", "-f", "-", stdin=json.dumps(manifest(real.space, **more)))
    done = admin.attempt("apply", "-f", "-", stdin=json.dumps(manifest(real.space, image="node:20", **more)))
    assert done.returncode == 1
    assert (
        "image cannot be changed once the object exists; delete it, or create another under a new name" in done.stderr
    )
    found = await real.cluster.image(real.space, "a")
    assert found is not None
    assert found.spec == {**IMAGE, **more}


def conditions(**said: str) -> list[dict[str, Any]]:
    when = "2026-01-31T12:00:00Z"
    return [
        {"type": type_, "status": status, "reason": "R", "message": "m", "lastTransitionTime": when}
        for type_, status in said.items()
    ]


async def test_kubectl_prints_a_row_for_each(real: Real, admin: Kubectl) -> None:
    real.image("new")
    node = {"name": "node-a", "digest": DIGEST}
    summary = {"libc": "glibc 2.36", "tools": "python 3.12.4, git 2.39.5", "size": "129 MB"}
    status = {"conditions": conditions(Ready="True", Compatible="True"), "rank": 3, "summary": summary, "nodes": [node]}
    await real.cluster.write_status(real.image("there"), ImageStatus.of(status))
    head, new, there = admin("-n", real.space, "get", "aimg").splitlines()
    assert head.split() == ["NAME", "IMAGE", "READY", "COMPATIBLE", "RANK", "LIBC", "TOOLS", "SIZE", "AGE"]
    assert new.split()[:2] == ["new", "python:3.12"]
    cells = [cell.strip() for cell in there.split("  ") if cell.strip()]
    assert cells[:8] == ["there", "python:3.12", "True", "True", "3", *summary.values()]
    wide = admin("-n", real.space, "get", "agentimages", "there", "-o", "wide").splitlines()[1]
    assert wide.split()[-2:] == [DIGEST, "node-a"]


async def test_kubectl_waits_for_their_conditions(real: Real, admin: Kubectl) -> None:
    made = await real.cluster.write_status(
        real.image("a"), ImageStatus.of({**STATUS, "conditions": conditions(Ready="False", Stalled="True")})
    )
    waiting = ("-n", real.space, "wait", "--timeout=0s", "aimg/a")
    assert admin.attempt(*waiting, "--for=condition=Ready").returncode == 1
    admin(*waiting, "--for=condition=Stalled")
    await real.cluster.write_status(made, ImageStatus.of({**STATUS, "conditions": conditions(Ready="True")}))
    admin(*waiting, "--for=condition=Ready")
    assert admin.attempt(*waiting, "--for=condition=Stalled").returncode == 1
