"""Who may use and see an image, by how it came to the node; what is on disk of that, and what a restart makes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from stromboli.errors import PodmanUnavailable, PullFailed
from stromboli.grammar.reference import Reference, parse
from stromboli.node.access import Access, Image
from stromboli.node.pull_records import PullRecords
from stromboli.registry_credentials import Credentials, IdentityToken, Login
from stromboli.registry_problem import RegistryProblem

APP = parse("registry.test/team/app:1")
OWN, FOREIGN = Login("reader", "open sesame"), Login("reader", "guess")
DENIED = PullFailed("denied", RegistryProblem.DENIED)


def image(number: int, *names: str) -> Image:
    digests = tuple(f"{name.rpartition(':')[0]}@sha256:{number:064x}" for name in names)
    return cast(Image, SimpleNamespace(id=f"{number:064x}", repo_tags=names, repo_digests=digests))


PRIVATE = image(1, str(APP))
BY_DIGEST = parse(f"registry.test/team/app@sha256:{1:064x}")


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path)


async def pulled(
    access: Access, with_: Credentials | None = OWN, found: Image = PRIVATE, before: Image | None = None
) -> None:
    """A pull that has succeeded with these credentials."""
    async with access.pulling(APP, before):
        await access.show(found, APP, with_)


async def test_what_the_operator_has_not_pulled_is_open(access: Access) -> None:
    assert access.is_open(PRIVATE, APP)
    assert access.visible_to("team-a", PRIVATE)
    await access.use("team-a", PRIVATE, APP)
    assert not access.recorded(), "nothing is written about it"


async def test_what_was_pulled_without_credentials_is_open(access: Access) -> None:
    await access.show(PRIVATE, APP, None)
    assert access.is_open(PRIVATE, APP)
    assert not access.recorded()


@pytest.mark.parametrize("reference", [APP, BY_DIGEST], ids=["by name", "by digest"])
async def test_what_credentials_have_pulled_is_for_who_has_them(access: Access, reference: Reference) -> None:
    await pulled(access)
    assert not access.is_open(PRIVATE, reference)
    assert not access.is_open_to(PRIVATE, reference, ())
    assert not access.is_open_to(PRIVATE, reference, (FOREIGN, IdentityToken("open sesame")))
    assert access.is_open_to(PRIVATE, reference, (FOREIGN, Login("reader", "open sesame")))


async def test_others_show_that_they_have_access_and_once_somebody_needs_none_nobody_does(access: Access) -> None:
    await pulled(access)
    await access.show(PRIVATE, APP, FOREIGN)
    assert access.is_open_to(PRIVATE, APP, (FOREIGN,))
    assert access.is_open_to(PRIVATE, APP, (OWN,))
    assert not access.is_open(PRIVATE, APP)
    await access.show(PRIVATE, APP, None)
    assert access.is_open(PRIVATE, APP)


async def test_a_namespace_sees_what_it_has_used_and_no_other(access: Access) -> None:
    await pulled(access)
    assert not access.visible_to("team-a", PRIVATE)
    await access.use("team-a", PRIVATE, APP)
    assert access.visible_to("team-a", PRIVATE)
    assert not access.visible_to("team-b", PRIVATE)
    assert not access.is_open_to(PRIVATE, APP, ()), "another run of the namespace has to name its Secret"


async def test_the_same_image_under_other_names(access: Access) -> None:
    await pulled(access)
    both = image(1, str(APP), "quay.io/public/app:1", "localhost/app:1")
    for name in ("quay.io/public/app:1", "localhost/app:1"):
        assert access.is_open(both, parse(name)), "an administrator gave it that name"
    assert not access.is_open(both, APP)
    assert access.visible_to("team-b", both)
    assert access.names_visible_to("team-b", both) == (
        "quay.io/public/app:1",
        "localhost/app:1",
        f"quay.io/public/app@sha256:{1:064x}",
        f"localhost/app@sha256:{1:064x}",
    )


async def test_an_image_that_has_lost_its_name_is_seen_by_who_has_used_it(access: Access) -> None:
    nameless = image(1)
    assert access.visible_to("team-a", nameless)
    await pulled(access)
    await access.use("team-a", PRIVATE, APP)
    assert access.visible_to("team-a", nameless)
    assert not access.visible_to("team-b", nameless)


async def test_an_image_is_nobodys_while_it_arrives(access: Access) -> None:
    async with access.pulling(APP, None):
        assert not access.is_open(PRIVATE, APP)
        assert not access.is_open(PRIVATE, BY_DIGEST)
        assert not access.visible_to("team-a", PRIVATE)
        assert access.is_open(image(2, "registry.test/team/app:2"), parse("registry.test/team/app:2"))
        assert access.is_open(image(2, "registry.test/other:1"), parse("registry.test/other:1"))
        await access.show(PRIVATE, APP, OWN)
    assert not access.is_open(PRIVATE, APP)


async def test_what_was_open_before_a_pull_stays_so(access: Access) -> None:
    async with access.pulling(APP, PRIVATE):
        assert access.is_open(PRIVATE, APP), "while it is pulled again"
        newer = image(2, str(APP))
        assert not access.is_open(newer, APP)
        await access.show(PRIVATE, APP, OWN)
    assert access.is_open(PRIVATE, APP)
    await pulled(access, found=newer, before=PRIVATE)
    assert not access.is_open(newer, APP)
    assert access.is_open(PRIVATE, APP)


async def test_what_was_not_open_before_a_pull_does_not_become_so(access: Access) -> None:
    await pulled(access)
    await pulled(access, with_=FOREIGN, before=PRIVATE)
    assert not access.is_open(PRIVATE, APP)
    assert access.is_open_to(PRIVATE, APP, (FOREIGN,))


async def test_a_failed_pull_leaves_nothing(access: Access, tmp_path: Path) -> None:
    with pytest.raises(PullFailed):
        async with access.pulling(APP, None):
            raise DENIED
    assert access.is_open(PRIVATE, APP), "an administrator may load it by hand then"
    assert Access(tmp_path).is_open(PRIVATE, APP)


@pytest.mark.parametrize("end", [asyncio.CancelledError(), PodmanUnavailable("…"), OSError()], ids=repr)
async def test_a_pull_of_which_nobody_knows_how_it_ended(access: Access, tmp_path: Path, end: BaseException) -> None:
    with pytest.raises(type(end)):
        async with access.pulling(APP, None):
            raise end
    with pytest.raises(PullFailed):
        async with access.pulling(APP, None):
            raise DENIED
    for known in (access, Access(tmp_path)):
        assert not known.is_open(PRIVATE, APP)
    await pulled(access)
    assert not access.recorded().unsure
    assert access.is_open_to(PRIVATE, APP, (OWN,))


async def test_the_operator_is_killed_at_any_point_of_a_pull(tmp_path: Path) -> None:
    """Every state of the disk is one that a killed operator may leave."""
    begun = Access(tmp_path)
    async with begun.pulling(APP, None):
        assert not Access(tmp_path).is_open(PRIVATE, APP), "between the pull's end and the record"
        await begun.show(PRIVATE, APP, OWN)
        assert not Access(tmp_path).is_open(PRIVATE, APP), "before the pull's own record is removed"
    after = Access(tmp_path)
    assert not after.is_open(PRIVATE, APP)
    assert after.is_open_to(PRIVATE, APP, (OWN,))
    await begun.use("team-a", PRIVATE, APP)
    assert Access(tmp_path).visible_to("team-a", PRIVATE)


async def test_two_pulls_of_one_reference(access: Access) -> None:
    async with access.pulling(APP, None):
        with pytest.raises(PullFailed):
            async with access.pulling(APP, None):
                raise DENIED
        assert not access.is_open(PRIVATE, APP), "the other may bring it yet"


async def test_records_go_with_their_images(access: Access, tmp_path: Path) -> None:
    await pulled(access)
    before = access.recorded()
    await access.forget(before, [PRIVATE])
    assert access.recorded() == before
    await access.forget(access.recorded(), [])
    assert not Access(tmp_path).recorded()
    assert access.is_open(PRIVATE, APP)


async def test_what_was_recorded_after_the_images_were_listed_stays(access: Access) -> None:
    await pulled(access)
    before = access.recorded()
    await access.use("team-a", PRIVATE, APP)  # it has been pulled again, say
    await access.forget(before, [])
    assert not access.is_open(PRIVATE, APP)


async def test_an_interrupted_pull_is_settled_by_what_is_on_the_node(access: Access, tmp_path: Path) -> None:
    for number in (1, 2):
        with pytest.raises(asyncio.CancelledError):
            async with access.pulling(parse(f"registry.test/team/app:{number}"), None):
                raise asyncio.CancelledError
    again = Access(tmp_path)
    second = image(2, "registry.test/team/app:2")
    here = [PRIVATE, image(3, "registry.test/team/app:3")]
    await again.forget(again.recorded(), here)
    assert again.recorded().unsure == {"registry.test/team/app:2"}
    assert not again.is_open(second, parse("registry.test/team/app:2")), "Podman may complete it yet"
    await again.forget(again.recorded(), here)
    assert not again.recorded().unsure
    assert again.is_open(second, parse("registry.test/team/app:2")), "loaded later"
    assert not again.is_open(PRIVATE, APP)
    assert not Access(tmp_path).is_open(PRIVATE, APP)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"repositories": {"registry.test/team/app": 7}, "whole": true}'])
async def test_a_damaged_record_opens_nothing(access: Access, tmp_path: Path, content: bytes) -> None:
    await pulled(access)
    (tmp_path / "access/pulled" / PRIVATE.id).write_bytes(content)
    again = Access(tmp_path)
    both = image(1, str(APP), "quay.io/public/app:1")
    for name in both.repo_tags:
        assert not again.is_open(both, parse(name))
        assert not again.is_open_to(both, parse(name), (OWN,))
    await again.show(both, APP, OWN)
    assert again.is_open_to(both, APP, (OWN,))
    assert not again.is_open(both, parse("quay.io/public/app:1")), "of that nothing is known yet"


async def test_nothing_of_the_credentials_is_on_disk_and_the_files_are_private(access: Access, tmp_path: Path) -> None:
    await pulled(access)
    await access.show(PRIVATE, APP, IdentityToken("open sesame"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
        for part in (b"reader", b"sesame"):
            assert part not in path.read_bytes()


async def test_without_the_key_access_has_to_be_shown_again(access: Access, tmp_path: Path) -> None:
    await pulled(access)
    (tmp_path / "access/key").write_bytes(b"short")
    assert not Access(tmp_path).is_open_to(PRIVATE, APP, (OWN,))


async def test_there_is_one_key_however_many_ask_for_the_first(tmp_path: Path) -> None:
    records = PullRecords(tmp_path)
    hashes = await asyncio.gather(*(asyncio.to_thread(records.hash_of, OWN) for _ in range(8)))
    assert set(hashes) == {PullRecords(tmp_path).hash_of(OWN)}


async def test_a_pull_that_cannot_be_recorded_does_not_begin(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(PullRecords, "begin", begin)
        with pytest.raises(OSError, match="no space"):
            async with access.pulling(APP, None):
                raise AssertionError("it has begun")
    assert not access.recorded()
    await pulled(access)
    await access.forget(access.recorded(), [PRIVATE])
    assert not access.is_open(PRIVATE, APP)
