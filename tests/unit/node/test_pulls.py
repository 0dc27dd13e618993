"""How many pulls there are at once, when a failed one is repeated, and what its registry is asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.errors import PodmanUnavailable, PullFailed, Pulling, RegistryError
from stromboli.grammar.reference import Reference, parse
from stromboli.node import jobs, pulls
from stromboli.node.pulls import Pulls
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
PULLED = cast(ImageInfo, SimpleNamespace(id="pulled"))


class Bed:
    """A Podman whose pulls end as `ends` says (until then they go on), a registry that answers `says`, and a clock."""

    def __init__(self) -> None:
        self._how: ImageInfo | Exception = AWAY
        self._end = asyncio.Event()
        self.says: Manifest | RegistryError = Manifest("sha256:x")
        self.now = 1000.0
        self.begun: list[tuple[str, Credentials | None]] = []
        self.reports: list[Callable[[PullProgress], None]] = []
        self.at_work = 0
        self.questions = 0
        self.images = self
        self.pulls = Pulls(cast(Any, self), self, lambda _: None)

    async def pull(
        self, name: str, report: Callable[[PullProgress], None], *, credentials: Credentials | None
    ) -> ImageInfo:
        self.begun.append((name, credentials))
        self.reports.append(report)
        self.at_work += 1
        try:
            await self._end.wait()
        finally:
            self.at_work -= 1
        if isinstance(self._how, Exception):
            raise self._how
        return self._how

    async def end(self, how: ImageInfo | Exception) -> None:
        """End all pulls, and those to come, in this way."""
        self._how = how
        self._end.set()
        await self.settle()

    async def settle(self) -> None:
        """Whatever was started has come as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)

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
        self, reference: Reference = APP, credentials: Credentials | None = None, run: str = "run"
    ) -> ImageInfo | Exception:
        """What a run is told, after whatever was started has come as far as it can."""
        try:
            return self.pulls.pulled(reference, credentials, run)
        except (Pulling, PullFailed, PodmanUnavailable) as said:
            return said
        finally:
            await self.settle()


@pytest.fixture
async def bed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    made = Bed()
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
    bed.reports[0](PullProgress(1, 10))
    assert (bed.at_work, len(timers)) == (pulls.AT_ONCE, pulls.AT_ONCE)
    assert first not in timers, "what arrives begins the wait anew"
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
    await bed.wants(credentials=own)
    await bed.wants(credentials=Login("reader", "open sesame"))
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
