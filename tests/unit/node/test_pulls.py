"""How many pulls there are at once, when a failed one is repeated, and what its registry is asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.errors import PodmanUnavailable, PullFailed, Pulling, RegistryError
from stromboli.grammar.reference import Reference, parse
from stromboli.node import jobs, pulls
from stromboli.node.access import Access
from stromboli.node.pulls import Pulls, first_accepted
from stromboli.podman.images import ImageInfo
from stromboli.podman.pulls import PullProgress
from stromboli.podman.registries_conf import RegistriesConf
from stromboli.registries import Manifest
from stromboli.registry_credentials import Credentials, Login
from stromboli.registry_problem import RegistryProblem

APP = parse("ghcr.io/team/app:1")
AWAY = PullFailed("connection refused", RegistryProblem.UNAVAILABLE)
LIMITED = PullFailed("toomanyrequests", RegistryProblem.RATE_LIMITED)
SILENT = PullFailed("nothing came", RegistryProblem.SILENT)
NO_PLATFORM = PullFailed("no image for amd64", RegistryProblem.NO_PLATFORM)
UNTIL = 20.0  # seconds
PULLED = cast(ImageInfo, SimpleNamespace(id="pulled"))


class Bed:
    """A Podman whose pulls end as `ends` says (until then they go on), a registry that answers `says`, and a clock."""

    def __init__(self, home: Path) -> None:
        self._how: ImageInfo | Exception = AWAY
        self._end = asyncio.Event()
        self.another = asyncio.Event()  # pull has begun
        self.says: Manifest | RegistryError = Manifest("sha256:x")
        self.now = 1000.0
        self.begun: list[tuple[str, Credentials | None]] = []
        self.reports: list[Callable[[PullProgress], None]] = []
        self.at_work = 0
        self.questions = 0
        self.images = self
        self.ended: list[str] = []
        self.pulls = Pulls(cast(Any, self), self, Access(home), lambda _: None, lambda how, _: self.ended.append(how))

    async def pull(
        self, name: str, report: Callable[[PullProgress], None], *, credentials: Credentials | None
    ) -> ImageInfo:
        self.begun.append((name, credentials))
        self.reports.append(report)
        self.at_work += 1
        self.another.set()
        try:
            await self._end.wait()
        finally:
            self.at_work -= 1
        if isinstance(self._how, Exception):
            raise self._how
        return self._how

    async def inspect(self, _: str) -> ImageInfo | None:
        return None

    async def end(self, how: ImageInfo | Exception) -> None:
        """End all pulls, and those to come, in this way."""
        self._how = how
        self._end.set()
        await self.settle()

    async def settle(self) -> None:
        """Whatever was started has come as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, there: Callable[[], bool]) -> None:
        """Until so many pulls have begun: before one with credentials, a file is written in a thread."""
        async with asyncio.timeout(UNTIL):
            while not there():
                self.another.clear()
                await self.another.wait()

    async def registries(self) -> RegistriesConf:
        return RegistriesConf()

    async def manifest(self, *_: object) -> Manifest:
        self.questions += 1
        if isinstance(self.says, RegistryError):
            raise self.says
        return self.says

    async def digest(self, *_: object) -> str:
        return (await self.manifest()).digest

    async def close(self) -> None:
        pass

    async def wants(
        self, reference: Reference = APP, credentials: tuple[Credentials, ...] = (), run: str = "run"
    ) -> ImageInfo | Exception:
        """What a run is told, after whatever was started has come as far as it can."""
        try:
            return self.pulls.pulled(reference, credentials, run)
        except (Pulling, PullFailed, PodmanUnavailable) as said:
            return said
        finally:
            await self.settle()


@pytest.fixture
async def bed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Bed]:
    made = Bed(tmp_path)
    clock = SimpleNamespace(monotonic=lambda: made.now)
    monkeypatch.setattr(pulls, "time", clock)
    monkeypatch.setattr(jobs, "time", clock)
    yield made
    await made.pulls.close()


async def test_only_a_few_at_once(bed: Bed) -> None:
    references = [parse(f"ghcr.io/team/app:{n}") for n in range(pulls.AT_ONCE + 3)]
    for reference in references:
        await bed.wants(reference)
    assert bed.at_work == pulls.AT_ONCE
    said = await bed.wants(references[-1])
    assert str(said) == f"pulling {references[-1]}: waiting until one of 4 other pulls has ended, 0 s so far"
    await bed.end(PULLED)
    for reference in references:
        assert await bed.wants(reference) is PULLED
    assert len(bed.begun) == len(references)


async def test_a_pull_whose_turn_has_come_says_so(bed: Bed) -> None:
    references = [parse(f"ghcr.io/team/app:{n}") for n in range(pulls.AT_ONCE + 1)]
    for number, reference in enumerate(references):
        await bed.wants(reference, run=f"run-{number}")
    bed.pulls.leave("run-0")
    await bed.wants(references[-1], run="run-4")
    assert "asking the registry" in str(await bed.wants(references[-1], run="run-4"))


class Timer:
    """A loop's timer that goes off when a test says so."""

    def __init__(self, callback: Callable[[], None], among: list[Timer]) -> None:
        self.goes_off = callback
        self._among = among
        among.append(self)

    def cancel(self) -> None:
        self._among.remove(self)


async def test_a_pull_to_which_nothing_comes_holds_up_no_other(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Timer] = []
    slots = bed.pulls._slots
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda _, callback: Timer(callback, timers))
    references = [parse(f"ghcr.io/team/app:{n}") for n in range(pulls.AT_ONCE + 2)]
    for reference in references:
        await bed.wants(reference)
    first, *silent = timers
    bed.reports[0](PullProgress(pulls.LEAST, 10 * pulls.LEAST))
    bed.reports[1](PullProgress(1, 10 * pulls.LEAST))
    assert (bed.at_work, len(timers)) == (pulls.AT_ONCE, pulls.AT_ONCE)
    assert first not in timers, "what arrives begins the wait anew"
    assert silent[0] in timers, "but not a few bytes, by which a registry could keep the turn for days"
    for timer in silent:
        timer.goes_off()
    await bed.settle()
    assert bed.at_work == len(references)
    assert slots._value == pulls.AT_ONCE - 3, "the first has kept its own"
    await bed.end(PULLED)
    assert (slots._value, timers) == (pulls.AT_ONCE, []), "each is given back once"


async def test_who_has_other_credentials_waits_for_another_pull(bed: Bed) -> None:
    own = Login("reader", "open sesame")
    await bed.wants()
    await bed.wants(credentials=(own,))
    await bed.wants(credentials=(Login("reader", "open sesame"),))
    await bed.until(lambda: len(bed.begun) == 2)
    assert bed.begun == [(str(APP), None), (str(APP), own)]


async def delays(bed: Bed, number: int) -> list[float]:
    """The seconds after which each of so many failed pulls is repeated."""
    found = []
    await bed.wants()
    for _ in range(number):
        seconds, before = 0, len(bed.begun)
        while len(bed.begun) == before:
            bed.now += 1.0
            seconds += 1
            await bed.wants()
        found.append(seconds - 1.0)
    return found


async def test_a_failed_pull_is_repeated_later_and_later(bed: Bed) -> None:
    await bed.end(AWAY)
    assert await delays(bed, 6) == [5.0, 10.0, 20.0, 40.0, 80.0, 80.0]
    await bed.end(PULLED)
    bed.now += 81
    await bed.wants()
    assert await bed.wants() is PULLED
    await bed.end(AWAY)
    await bed.wants(run="another")
    bed.now += 6
    begun = len(bed.begun)
    await bed.wants(run="another")
    assert len(bed.begun) == begun + 1, "and after a success as soon as at first"


async def test_podman_s_absence_counts_as_a_failure(bed: Bed) -> None:
    await bed.end(PodmanUnavailable("connection refused"))
    assert await delays(bed, 3) == [5.0, 10.0, 20.0]


async def test_what_is_permanent_may_be_corrected_at_any_time(bed: Bed) -> None:
    await bed.end(PullFailed("manifest unknown", RegistryProblem.NOT_FOUND))
    assert await delays(bed, 3) == [5.0, 5.0, 5.0]


@pytest.mark.parametrize("failure", [LIMITED, SILENT])
async def test_a_registry_that_limits_is_asked_how_long(bed: Bed, failure: PullFailed) -> None:
    await bed.end(failure)
    bed.says = RegistryError("ghcr.io answers no more requests for now", RegistryProblem.RATE_LIMITED, 120.0)
    await bed.wants()
    said = await bed.wants()
    assert isinstance(said, PullFailed)
    assert said.problem is RegistryProblem.RATE_LIMITED
    assert str(said) == f"{failure}; ghcr.io answers no more requests for now, and asks to wait 120 s"
    assert await delays(bed, 1) == [120.0]


async def test_other_refusals_of_the_operators_question_do_not_count(bed: Bed) -> None:
    await bed.end(SILENT)
    bed.says = RegistryError("ghcr.io denies access", RegistryProblem.DENIED)
    await bed.wants()
    assert await bed.wants() is SILENT


async def test_a_missing_platform_comes_with_those_that_there_are(bed: Bed) -> None:
    await bed.end(NO_PLATFORM)
    bed.says = Manifest("sha256:x", ("linux/arm64", "linux/s390x"))
    await bed.wants()
    assert str(await bed.wants()) == "no image for amd64; it is there for linux/arm64, linux/s390x"


async def test_other_failures_are_not_asked_about(bed: Bed) -> None:
    for number, problem in enumerate(RegistryProblem):
        if problem in (RegistryProblem.NO_PLATFORM, RegistryProblem.RATE_LIMITED, RegistryProblem.SILENT):
            continue
        await bed.end(PullFailed("…", problem))
        await bed.wants(parse(f"ghcr.io/team/app:{number}"))
    assert bed.questions == 0


async def test_nothing_is_remembered_for_ever(bed: Bed) -> None:
    await bed.end(AWAY)
    await bed.wants()
    bed.now += pulls.REMEMBER_PULL + 1
    bed.pulls.forget()
    assert (len(bed.pulls._jobs), bed.pulls._failures, bed.pulls._failed) == (0, {}, {})


DENIED = PullFailed("unauthorized", RegistryProblem.DENIED)
UNKNOWN = PullFailed("manifest unknown", RegistryProblem.NOT_FOUND)
ONE, TWO = Login("one", "open sesame"), Login("two", "open sesame")
PRIVATE = cast(
    ImageInfo,
    SimpleNamespace(id="a" * 64, repo_tags=(str(APP),), repo_digests=(f"ghcr.io/team/app@sha256:{'b' * 64}",)),
)


class Doors:
    """A registry that opens to some credentials, for pulls and for questions; both are counted."""

    def __init__(self, home: Path, *accepted: Credentials | None, failure: PullFailed = DENIED) -> None:
        self.accepted = accepted
        self.failure = failure
        self.pulls_with: list[Credentials | None] = []
        self.asked_with: list[tuple[str, Credentials | None]] = []
        self.images = self
        self.access = Access(home)
        self.ended = asyncio.Event()
        self.node = Pulls(cast(Any, self), cast(Any, self), self.access, lambda _: self.ended.set())

    async def inspect(self, _: str) -> ImageInfo | None:
        return None

    async def registries(self) -> RegistriesConf:
        return RegistriesConf()

    async def pull(self, _: str, __: object, *, credentials: Credentials | None) -> ImageInfo:
        self.pulls_with.append(credentials)
        if credentials in self.accepted:
            return PRIVATE
        raise self.failure

    async def digest(self, reference: Reference, _: RegistriesConf, credentials: Credentials | None) -> str:
        self.asked_with.append((str(reference), credentials))
        if credentials in self.accepted:
            return "sha256:x"
        raise RegistryError(f"ghcr.io denies access to {reference}", self.failure.problem)

    async def close(self) -> None:
        pass

    async def gets(self, *credentials: Credentials, **more: Any) -> ImageInfo | PullFailed:
        """How a pull with these credentials ends."""
        self.ended.clear()
        try:
            with pytest.raises(Pulling):
                self.node.pulled(APP, credentials, "run", **more)
            async with asyncio.timeout(UNTIL):
                await self.ended.wait()
            return self.node.pulled(APP, credentials, "run", **more)
        except PullFailed as failure:
            return failure
        finally:
            await self.node.close()


async def test_credentials_are_tried_in_order_until_one_is_accepted(tmp_path: Path) -> None:
    doors = Doors(tmp_path, TWO)
    assert await doors.gets(ONE, TWO, Login("three", "x")) is PRIVATE
    assert doors.pulls_with == [ONE, TWO]
    assert doors.access.is_open_to(PRIVATE, APP, (TWO,))
    assert not doors.access.is_open_to(PRIVATE, APP, (ONE,))


async def test_and_then_without_any(tmp_path: Path) -> None:
    doors = Doors(tmp_path, None)
    assert await doors.gets(ONE, TWO) is PRIVATE
    assert doors.pulls_with == [ONE, TWO, None]
    assert doors.access.is_open(PRIVATE, APP)


async def test_if_none_is_accepted_nothing_is_recorded(tmp_path: Path) -> None:
    doors = Doors(tmp_path)
    assert await doors.gets(ONE) is DENIED
    assert doors.pulls_with == [ONE, None]
    assert not doors.access.recorded()
    assert doors.access.is_open(PRIVATE, APP), "as something that was loaded by hand"


@pytest.mark.parametrize("failure", [AWAY, LIMITED, SILENT])
async def test_what_credentials_do_not_change_ends_the_tries(tmp_path: Path, failure: PullFailed) -> None:
    doors = Doors(tmp_path, failure=failure)
    assert isinstance(await doors.gets(ONE, TWO), PullFailed)
    assert doors.pulls_with == [ONE]


async def test_which_failure_is_told() -> None:
    failures = {ONE: DENIED, TWO: UNKNOWN, None: PullFailed("denied to all", RegistryProblem.DENIED)}

    async def ask(own: Credentials | None) -> None:
        raise failures[cast(Any, own)]

    for credentials, told in (((ONE, TWO), UNKNOWN), ((TWO, ONE), UNKNOWN), ((ONE,), DENIED)):
        with pytest.raises(PullFailed) as caught:
            await first_accepted(credentials, ask)
        assert caught.value is told


async def test_an_image_that_is_here_is_not_pulled_if_its_registry_shows_it(tmp_path: Path) -> None:
    doors = Doors(tmp_path, TWO)
    async with doors.access.pulling(APP, None):
        await doors.access.show(PRIVATE, APP, ONE)
    assert await doors.gets(TWO, here=PRIVATE) is PRIVATE
    assert (doors.pulls_with, doors.asked_with) == ([], [(f"ghcr.io/team/app@sha256:{'b' * 64}", TWO)])
    assert doors.access.is_open_to(PRIVATE, APP, (TWO,))


async def test_and_otherwise_a_pull_decides(tmp_path: Path) -> None:
    doors = Doors(tmp_path)
    assert await doors.gets(ONE, here=PRIVATE) is DENIED
    assert doors.pulls_with == [ONE, None]


@pytest.mark.parametrize(
    ("failure", "problem"), [(DENIED, RegistryProblem.DENIED), (AWAY, RegistryProblem.UNAVAILABLE)]
)
async def test_unless_nothing_may_be_pulled(tmp_path: Path, failure: PullFailed, problem: RegistryProblem) -> None:
    doors = Doors(tmp_path, failure=failure)
    said = await doors.gets(ONE, here=PRIVATE, may_pull=False)
    assert isinstance(said, PullFailed)
    assert str(said) == f"access to the image {APP} is not shown: ghcr.io denies access to {APP}"
    assert said.problem is problem
    assert doors.pulls_with == []


async def test_a_pull_that_is_broken_off_leaves_the_image_to_nobody(bed: Bed, tmp_path: Path) -> None:
    await bed.wants(credentials=(ONE,))
    await bed.until(lambda: bed.at_work == 1)
    await bed.pulls.close()
    assert not Access(tmp_path).is_open(PRIVATE, APP)


async def test_no_secret_is_in_the_name_of_a_task(bed: Bed) -> None:
    await bed.wants(credentials=(ONE,))
    assert any("ghcr.io/team/app:1" in task.get_name() for task in asyncio.all_tasks())
    assert not any("sesame" in task.get_name() or "one" in task.get_name() for task in asyncio.all_tasks())


async def test_an_image_that_has_just_arrived_is_not_asked_for_beside_its_pull(bed: Bed) -> None:
    await bed.wants(credentials=(ONE,))
    await bed.until(lambda: bed.at_work == 1)
    with pytest.raises(Pulling):
        bed.pulls.pulled(APP, (ONE,), "run", PRIVATE)
    await bed.settle()
    assert (len(bed.begun), bed.questions) == (1, 0)


@pytest.mark.parametrize("told", ["pulled", "failed", "canceled"])
async def test_each_end_of_a_pull_is_reported_once(told: str, bed: Bed) -> None:
    await bed.wants()
    await bed.wants(run="another")
    if told == "canceled":
        for run in ("run", "another"):
            bed.pulls.leave(run)
        await bed.settle()
    else:
        await bed.end(PULLED if told == "pulled" else AWAY)
    assert bed.ended == [told]
