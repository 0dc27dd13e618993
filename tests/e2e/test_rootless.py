"""As an unprivileged user: a rootless Podman, an unprivileged operator, and the owners of the files that runs write."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client

from stromboli import naming
from tests.support import images, rootless
from tests.support.cluster import Kubectl
from tests.support.leaks import files_with
from tests.support.operator import Standin
from tests.support.rootless import Bed, Cluster
from tests.support.runs import Object, completed, condition, finished, reason_is
from tests.support.waiting import eventually

# By the image's user: root, one with a passwd entry, and a number without one.
USERS = {"root": "glibc", "named": "nonroot", "numeric": "numeric-user"}


@pytest.fixture(scope="module")
def bed(
    podman_env: dict[str, str], operator_kubeconfig: Path, kubectl: Kubectl, client: Client, standin: Standin
) -> Iterator[Bed]:
    saved = [images.archive(name, podman_env) for name in ("cli", *USERS.values())]
    with rootless.rootless("rootless", saved, Cluster(operator_kubeconfig, kubectl, client, standin)) as bed:
        yield bed


@pytest.fixture(scope="module")
def done(bed: Bed) -> dict[str, Object]:
    """One run in an image of each kind; it writes into a mounted folder and prints its identity."""
    return bed.runs.run_all({name: _writing(bed, name) for name in USERS})


def _writing(bed: Bed, name: str) -> dict[str, Any]:
    where = rootless.folder(bed, name)
    claude = {"dangerouslySkipPermissions": True} if name == "root" else {"allowedTools": ["Bash"]}
    return {
        "image": images.RECIPES[USERS[name]].reference,
        "prompt": f"BASH{{mkdir made && echo made-by-{name} > made/file && id -u}}",
        "workdir": "/workspace",
        "volumes": [f"{where}:/workspace"],
        "claude": claude,
        # Rootless Podman cannot limit memory on cgroups v1, and must not fail because of it.
        "resources": {"memory": "1Gi", "cpus": 1},
    }


@pytest.mark.parametrize(("name", "uid"), [("root", 0), ("named", images.NONROOT_UID), ("numeric", images.NUMERIC_UID)])
def test_a_run_succeeds_as_the_images_own_user(done: dict[str, Object], bed: Bed, name: str, uid: int) -> None:
    run = done[name]
    completed(run, bed.operator.last_words())
    assert run["status"]["result"]["text"].strip().endswith(f": {uid}")


@pytest.mark.parametrize("name", USERS)
def test_what_it_writes_into_a_mounted_folder_is_the_users(done: dict[str, Object], bed: Bed, name: str) -> None:
    made = bed.work / name / "made"
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (made, made / "file")} == {(bed.user.uid, bed.user.gid)}
    assert (made / "file").read_text() == f"made-by-{name}\n"


@pytest.mark.parametrize("name", USERS)
def test_operator_and_agent_read_what_the_other_wrote(
    done: dict[str, Object], bed: Bed, standin: Standin, name: str
) -> None:
    folders = [bed.session(done[name]), *bed.session(done[name]).rglob("*")]
    assert {p.lstat().st_uid for p in folders} == {bed.user.uid}
    asked = [r for r in standin.requests() if f"made-by-{name}" in str(r["user_texts"])]
    assert asked, "the agent did not ask"
    assert all(r["credentials"] == ["x-api-key"] for r in asked), "the agent had no key"


def test_the_service_may_be_killed_meanwhile(bed: Bed) -> None:
    bed.runs.apply("killed", prompt="SLEEP{2} ECHO{still here}", image=images.RECIPES["nonroot"].reference)
    bed.runs.until("killed", reason_is("Running"))
    bed.podman.kill_service()
    bed.podman.start_service()
    run = bed.runs.until("killed", finished)
    assert (condition(run)["reason"], run["status"]["result"]["text"]) == ("Completed", "still here")


def test_secrets_are_readable_for_the_images_own_user_and_gone_afterwards(bed: Bed) -> None:
    token, key = "tok-31f0a9c7", "key-5d20e8b1"
    literals = (f"--from-literal=token={token}", f"--from-literal=key={key}")
    bed.runs.kubectl("-n", bed.runs.namespace, "create", "secret", "generic", "given", *literals)
    # Hashes, since the values themselves are redacted.
    look = (
        "cd /run/stromboli/secret; printenv TOKEN ALL_token | sha256sum; sha256sum <key; stat -c '%a %u' key; id -u; ls"
    )
    spec: dict[str, Any] = {
        "prompt": f"BASH{{{look}}}",
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "given", "key": "token"}}}],
        "envFrom": [{"secretRef": {"name": "given"}, "prefix": "ALL_"}],
        "secretFiles": [{"name": "key", "secretKeyRef": {"name": "given", "key": "key"}}],
        "claude": {"dangerouslySkipPermissions": True},
    }
    runs = bed.runs.run_all(
        {
            f"secret-{name}": spec | {"image": images.RECIPES[image].reference, "session": {"name": f"with-{name}"}}
            for name, image in USERS.items()
        }
    )
    expected = [sha256(text.encode()).hexdigest() for text in (f"{token}\n{token}\n", key)]
    for run in runs.values():
        completed(run, bed.operator.last_words())
        said = str(run["status"]["result"]["text"]).rpartition("said: ")[2].splitlines()
        assert [line.split()[0] for line in said[:2]] == expected
        assert said[2].split() == ["400", said[3]]
        assert said[4:] == ["key"]
        uid = run["status"]["session"]["uid"]
        volume = Path(bed.podman.run("volume", "inspect", "--format={{.Mountpoint}}", naming.volume(uid)).strip())
        assert volume.is_dir()
        for place in (volume, bed.operator.home / "sessions" / uid):
            assert files_with(place, (token, key)) == []
        assert token not in bed.podman.run("inspect", naming.agent(uid).name)
    eventually(
        lambda: not files_with(bed.operator.runtime_dir, (token, key)),
        "no secret is left",
        lambda: files_with(bed.operator.runtime_dir, (token, key)),
    )


def test_nothing_stays_of_deleted_runs(done: dict[str, Object], bed: Bed) -> None:
    """Not even files that an agent has given to a user that exists only in its container."""
    giving = "mkdir -p out/deep/er; echo > out/deep/er/file; chmod -R 700 out/deep; chown -R 1234:1234 out/deep secret"
    run = bed.runs.run(
        "giver",
        prompt=f"BASH{{cd /run/stromboli; {giving}; id -u}}",
        image=images.RECIPES["glibc"].reference,
        claude={"dangerouslySkipPermissions": True},
    )
    completed(run, bed.operator.last_words())
    given = bed.session(run).rglob("out/deep")
    assert [p.stat().st_uid == bed.user.uid for p in given] == [False], "nothing was given away"
    bed.runs.kubectl("-n", bed.runs.namespace, "delete", "agentruns,agentsessions", "--all")
    eventually(lambda: not any(bed.left().values()), "nothing of any run is left", bed.left)
