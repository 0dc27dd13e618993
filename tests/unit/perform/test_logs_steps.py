"""What is served of a run's output: which attempt and step, from where, until when, and without secrets."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stromboli.attempt import seals
from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.site import Site
from stromboli.models.run import Run, RunStatus
from stromboli.node import watches
from stromboli.perform.history import History
from stromboli.perform.logs import steps
from stromboli.perform.logs.asked import Answer, Asked, NoOutput, State
from stromboli.perform.logs.steps import Outputs
from stromboli.plan.masking import Masks
from stromboli.plan.redaction import Secrets
from stromboli.reasons import Reason
from stromboli.store import Store
from tests.support.builders import UID, at, at_version, read

SECRET = "a-key-that-was-handed-over"
LIMIT = 10.0  # seconds; everything here takes a fraction of one
BEGUN = "start 1.0\nbegin postStart 0 1.0\nfinish 0 1.5\nbegin agent 0 2.0\n"


class Bed:
    """A run with an attempt on this node, whose supervisor is the test."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = Store(lambda _: None, History("node-1"))
        self.site = Site(tmp_path / "home", tmp_path / "run", "11111111-1111-4111-8111-111111111111")
        self.run: Run | None = None
        self.outputs = self.of_node("node-1")
        self.attempts(1)
        self.give(1, SECRET)

    def of_node(self, node: str, **more: Any) -> Outputs:
        """The outputs as an operator of this node serves them; it has no services."""
        return Outputs(self._lookup, self.store, self.site, node, cast(Any, None), **more)

    async def _lookup(self, namespace: str, name: str) -> Run | None:
        return self.run if (namespace, name) == ("team", "a") else None

    @property
    def folder(self) -> SessionFolder:
        return self.site.folder(UID)

    def out(self, number: int = 1) -> Path:
        attempt = self.folder.attempt(UID, number)
        if not attempt.exists():
            attempt.mkdir(parents=True)
            seals.make(attempt, None)
        return attempt / "out"

    def attempts(self, *numbers: int, over: bool = False) -> None:
        """The run has these attempts, and all but the last have ended; with `over` the run has."""
        entries = [
            {"number": n, "finishedAt": "2026-01-31T12:00:01Z"} if over or n != numbers[-1] else {"number": n}
            for n in numbers
        ]
        version = int(self.run.version) + 1 if self.run is not None else 1
        found = read(at_version(version), at(Reason.Completed if over else Reason.Running))
        wire = {**found.status.wire, "attempts": entries, "node": "node-1"}
        self.run = replace(found, status=RunStatus(wire))
        self.store.put(self.run)
        for n in numbers:
            self.out(n)

    def give(self, number: int, *secrets: str) -> None:
        self.folder.write_given(f"{UID}-{number}", Secrets(secrets))

    def write(self, data: bytes, name: str = "stdout", number: int = 1) -> None:
        with (self.out(number) / name).open("ab") as file:
            file.write(data)

    def start(self, number: int = 1) -> None:
        """The supervisor breaks the first seal."""
        while not seals.broken(self.out(number).parent).started:
            os.utime(self.out(number))

    def record(self, text: str = BEGUN) -> None:
        self.start()
        self.write(text.encode(), "record")

    async def open(self, **asked: Any) -> Answer:
        return await self.outputs.open("team", "a", Asked(**asked))

    async def all(self, **asked: Any) -> bytes:
        async with asyncio.timeout(LIMIT):
            return b"".join([piece async for piece in (await self.open(**asked)).pieces])


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


class Following:
    """A follower that reads beside the test."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.found = b""
        self.task = asyncio.ensure_future(self._read())
        self._more = asyncio.Event()

    async def _read(self) -> None:
        async with aclosing(cast(Any, self.answer.pieces)) as pieces:
            async for piece in pieces:
                self.found += piece
                self._more.set()

    async def until(self, found: bytes) -> None:
        """Wait until exactly this was read."""
        async with asyncio.timeout(LIMIT):
            while self.found != found:
                assert found.startswith(self.found), (self.found, found)
                self._more.clear()
                await self._more.wait()

    async def ended(self) -> bytes:
        await asyncio.wait_for(self.task, LIMIT)
        return self.found


# --- which output ---


async def test_each_step_has_its_own(bed: Bed) -> None:
    bed.record()
    bed.write(b"answer\n")
    bed.write(b"oops\n", "stderr")
    bed.write(b"installed\n", "postStart.0")
    assert await bed.all() == await bed.all(step="agent") == b"answer\n"
    assert await bed.all(step="stderr") == b"oops\n"
    assert await bed.all(step="postStart[0]") == b"installed\n"
    assert await bed.all(step="supervisor") == (
        b"1970-01-01T00:00:01.000Z the attempt began\n"
        b"1970-01-01T00:00:01.000Z postStart[0] began\n"
        b"1970-01-01T00:00:01.500Z postStart[0] ended with exit code 0\n"
        b"1970-01-01T00:00:02.000Z agent began\n"
    )


async def test_what_the_supervisor_says_grows_and_its_offsets_stay(bed: Bed) -> None:
    bed.record()
    before = await bed.all(step="supervisor")
    bed.write(b"input continue 2.0\nnonsense\nfinish 3 3.0\nend failed 3 1 4.25\nhalf", "record")
    after = await bed.all(step="supervisor", offset=len(before))
    assert after == (
        b"1970-01-01T00:00:02.000Z the conversation is continued\n"
        b"1970-01-01T00:00:03.000Z agent ended with exit code 3\n"
        b"1970-01-01T00:00:04.250Z the attempt ended: failed, exit code 3; "
        b"processes were killed because its memory was used up\n"
    )


async def test_the_last_attempt_is_served_unless_another_is_asked_for(bed: Bed) -> None:
    bed.attempts(1, 2)
    bed.give(2, "another-secret")
    bed.write(f"first {SECRET}".encode())
    bed.write(b"second another-secret", number=2)
    answer = await bed.open()
    assert (answer.attempt, answer.state) == (2, State.waiting)
    assert await bed.all() == b"second **************"
    assert (await bed.open(attempt=1)).state is State.ended
    assert await bed.all(attempt=1) == b"first " + b"*" * len(SECRET)


@pytest.mark.parametrize(
    ("asked", "why", "says"),
    [
        ({"step": "sudo"}, "invalid", "`step` is 'sudo'; it can be agent, stderr, supervisor, or a hook such as"),
        ({"step": "../record"}, "invalid", "it can be agent"),
        ({"step": "postStart[01]"}, "invalid", "it can be agent"),
        ({"step": "postStart.0"}, "invalid", "it can be agent"),
        (
            {"step": "postStart[7]"},
            "invalid",
            "which attempt 1 has not; it has agent, stderr, supervisor, postStart[0]",
        ),
        ({"attempt": 3}, "invalid", "`attempt` is 3; the run has the attempts 1"),
        ({"uid": "other"}, "replaced", f"was deleted and created again: its UID is now {UID}"),
    ],
)
async def test_what_is_not_there_is_said(bed: Bed, asked: dict[str, Any], why: str, says: str) -> None:
    bed.record()
    with pytest.raises(NoOutput) as raised:
        await bed.open(**asked)
    assert raised.value.why == why
    assert says in str(raised.value)


async def test_a_run_that_is_not_there_or_elsewhere(bed: Bed) -> None:
    with pytest.raises(NoOutput, match="the namespace team has no AgentRun b"):
        await bed.outputs.open("team", "b", Asked())
    bed.outputs = bed.of_node("node-2")
    with pytest.raises(NoOutput, match="the output of a is on node node-1; try again"):
        await bed.open()


async def test_without_an_attempt_there_is_nothing_yet(bed: Bed) -> None:
    bed.run = read(at(Reason.Queued))
    answer = await bed.open(follow=True)
    assert (answer.attempt, answer.offset, answer.state) == (0, 0, State.waiting)
    assert await bed.all(follow=True) == b""
    bed.run = read(at(Reason.InvalidSpec))
    assert (await bed.open()).state is State.ended


async def test_what_was_removed_from_the_node_is_said(bed: Bed) -> None:
    bed.folder.remove()
    with pytest.raises(NoOutput, match="the output of attempt 1 of a is no longer on the node"):
        await bed.open()


# --- secrets ---


async def test_after_a_restart_of_the_node_nothing_is_shown_but_what_the_supervisor_says(bed: Bed) -> None:
    bed.record()
    bed.write(f"it is {SECRET}".encode())
    bed.folder.settle_given(f"{UID}-1")
    bed.folder.forget_given(f"{UID}-1")
    with pytest.raises(NoOutput, match="is withheld, because the operator no longer knows which secrets") as raised:
        await bed.open()
    assert raised.value.why == "withheld"
    assert (await bed.all(step="supervisor")).endswith(b"agent began\n")


async def test_an_attempt_that_has_not_started_is_waited_for_with_what_it_is_given_then(bed: Bed) -> None:
    answer = await bed.open()
    assert (answer.state, [piece async for piece in answer.pieces]) == (State.waiting, [])
    opening = asyncio.ensure_future(bed.open(follow=True))
    await asyncio.sleep(watches.LOOK * 3)
    assert not opening.done()
    bed.give(1, "another-that-it-is-given-as-well")
    bed.record()
    following = Following(await asyncio.wait_for(opening, LIMIT))
    bed.write(f"{SECRET} another-that-it-is-given-as-well\n".encode())
    await following.until(b"*" * len(SECRET) + b" " + b"*" * 32 + b"\n")
    bed.attempts(1, over=True)
    await following.ended()


async def test_an_attempt_that_does_not_start_soon_is_answered_all_the_same(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LAUNCH", 0.1)
    answer = await bed.open(follow=True)
    assert (answer.state, [piece async for piece in answer.pieces]) == (State.waiting, [])


async def test_an_attempt_that_never_started_has_nothing_to_withhold(bed: Bed) -> None:
    bed.folder.forget_given(f"{UID}-1")
    bed.attempts(1, over=True)
    assert await bed.all(follow=True) == b""


async def test_what_has_no_secret_is_shown_after_it_too(bed: Bed) -> None:
    bed.record()
    bed.write(b"nothing of it, but sk-ant-0123456789abcdef012")
    bed.folder.settle_given(f"{UID}-1")
    bed.folder.forget_given(f"{UID}-1")
    with pytest.raises(NoOutput):  # a key that is not its own is one all the same
        await bed.open()
    (bed.out() / "stdout").write_bytes(b"nothing of it")
    bed.give(1, SECRET)
    bed.folder.settle_given(f"{UID}-1")
    assert await bed.all() == b"nothing of it"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.sampled_from([SECRET.encode(), SECRET.encode()[:9], b"\n", b"x", b"\xff\xf0", b"{}" * 40]), max_size=30
    ),
    offset=st.integers(0, 400),
    cut=st.integers(0, 400),
)
def test_from_any_offset_in_any_chunks_it_is_the_whole_masked(
    bed: Bed, parts: list[bytes], offset: int, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"".join(parts)
    (bed.out() / "stdout").write_bytes(text)
    bed.attempts(1, over=True)
    whole = Masks(Secrets([SECRET])).masked(text, 0, last=True).data
    with monkeypatch.context() as patched:
        patched.setattr(steps, "CHUNK", cut % 37 + 1)
        assert asyncio.run(bed.all(offset=offset)) == whole[offset:]
        assert asyncio.run(bed.all(offset=offset, limit=cut + 1)) == whole[offset : offset + cut + 1]


async def test_the_rest_of_a_secret_whose_beginning_is_no_longer_kept_is_not_shown(bed: Bed) -> None:
    bed.write(SECRET.encode()[5:] + b"x" * 1000, "stdout.old")
    inode = (bed.out() / "stdout.old").stat().st_ino
    bed.write(f"{inode} 5000\n".encode(), "stdout.from")
    bed.write(b"new")
    answer = await bed.open()
    assert answer.offset > 5000 + len(SECRET)
    assert await bed.all() == b"x" * (5000 + 1000 + len(SECRET) - 5 - answer.offset) + b"new"


# --- following ---


async def test_a_follower_gets_what_is_written_within_a_tenth_of_a_second_and_then_the_end(bed: Bed) -> None:
    bed.record()
    bed.write(b"first\n")
    following = Following(await bed.open(follow=True))
    assert following.answer.state is State.running
    await following.until(b"first\n")
    begun = time.monotonic()
    bed.write(b"second\n")
    await following.until(b"first\nsecond\n")
    assert time.monotonic() - begun < 0.5  # 0.1 on a machine that does nothing else
    bed.write(b"last, and no line feed")
    begun = time.monotonic()
    bed.attempts(1, over=True)
    assert await following.ended() == b"first\nsecond\nlast, and no line feed"
    assert time.monotonic() - begun < steps.CHECK / 2
    assert len(bed.outputs._watches) == 0


async def test_a_hook_is_followed_from_before_its_beginning_to_its_end(bed: Bed) -> None:
    bed.start()
    following = Following(await bed.open(step="postStart[0]", follow=True))
    assert following.answer.state is State.waiting
    bed.record("start 1.0\nbegin postStart 0 1.0\n")
    bed.write(b"installing\n", "postStart.0")
    await following.until(b"installing\n")
    bed.write(b"done\n", "postStart.0")
    bed.write(b"finish 0 2.0\n", "record")
    assert await following.ended() == b"installing\ndone\n"


async def test_a_hook_that_will_never_begin_is_not_waited_for(bed: Bed) -> None:
    bed.start()
    following = Following(await bed.open(step="postCreate[0]", follow=True))
    begun = time.monotonic()
    bed.record()
    assert await following.ended() == b""
    assert time.monotonic() - begun < steps.CHECK / 2


async def test_an_end_that_an_agent_wrote_itself_is_none(bed: Bed) -> None:
    bed.record()
    following = Following(await bed.open(follow=True))
    bed.write(b"end completed 0 0 3.0\n", "record")
    bed.write(b"still here\n")
    await following.until(b"still here\n")
    await asyncio.sleep(watches.LOOK * 3)
    bed.write(b"and here\n")
    await following.until(b"still here\nand here\n")
    bed.attempts(1, over=True)
    await following.ended()


async def test_an_attempt_ends_when_another_has_begun_or_the_run_is_deleted(bed: Bed) -> None:
    bed.record()
    following = Following(await bed.open(follow=True))
    bed.attempts(1, 2)
    bed.give(2)
    bed.start(2)
    assert await following.ended() == b""
    following = Following(await bed.open(follow=True))
    bed.store.delete(UID)
    assert await following.ended() == b""


async def test_a_new_operator_that_does_not_know_the_run_yet_does_not_take_it_for_ended(bed: Bed) -> None:
    bed.record()
    bed.store = Store(lambda _: None, History("node-1"))
    bed.outputs = bed.of_node("node-1")
    following = Following(await bed.open(follow=True))
    assert following.answer.state is State.running
    bed.write(b"working\n")
    await following.until(b"working\n")
    bed.attempts(1, over=True)
    await following.ended()


async def test_what_may_begin_a_secret_is_held_back_but_not_for_ever(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "HELD", 0.2)
    monkeypatch.setattr(steps, "CHECK", 0.05)
    bed.record()
    following = Following(await bed.open(follow=True))
    bed.write(b"key: " + SECRET[:10].encode())
    await following.until(b"key: ")
    bed.write(SECRET[10:].encode() + b"; a")
    await following.until(b"key: " + b"*" * len(SECRET) + b"; ")
    await following.until(b"key: " + b"*" * len(SECRET) + b"; a")  # one byte is no secret
    bed.write(SECRET[1:].encode() + b"!")  # but the rest is
    await following.until(b"key: " + b"*" * len(SECRET) + b"; a" + b"*" * (len(SECRET) - 1) + b"!")
    bed.write(SECRET[:-1].encode())
    await asyncio.sleep(0.5)
    assert following.found.endswith(b"!")
    bed.attempts(1, over=True)
    assert (await following.ended()).endswith(b"!" + SECRET[:-1].encode())  # it has become none


async def test_a_follower_that_is_too_slow_for_what_is_kept_is_sent_away(bed: Bed) -> None:
    bed.record()
    answer = await bed.open(follow=True)
    pieces = cast(Any, answer.pieces)
    bed.write(b"z" * 1000)
    assert await anext(pieces) == b"z" * 1000
    (bed.out() / "stdout").unlink()
    bed.write(b"x" * 2000, "stdout.old")
    bed.write(f"{(bed.out() / 'stdout.old').stat().st_ino} 3000\n".encode(), "stdout.from")
    assert [piece async for piece in pieces] == []
    again = await bed.open(follow=True, offset=1000)
    assert again.offset > 3000
    await cast(Any, again.pieces).aclose()


async def test_an_offset_beyond_the_end_is_waited_for(bed: Bed) -> None:
    bed.record()
    bed.write(b"12345")
    assert await bed.all(offset=9) == b""
    assert (await bed.open(offset=2**52)).offset == 2**52
    following = Following(await bed.open(offset=9, follow=True))
    bed.write(b"6789abc")
    await following.until(b"abc")
    bed.attempts(1, over=True)
    await following.ended()


async def test_an_output_that_the_agent_cut_goes_on_where_it_is_longer_again(bed: Bed) -> None:
    bed.record()
    bed.write(b"0123456789")
    following = Following(await bed.open(follow=True))
    await following.until(b"0123456789")
    (bed.out() / "stdout").write_bytes(b"")
    bed.write(SECRET.encode()[:8])
    bed.write(b"01" + SECRET.encode() + b"\n")  # what was sent of it is not shown again, and no secret is
    await following.until(b"0123456789" + b"*" * len(SECRET) + b"\n")
    bed.attempts(1, over=True)
    await following.ended()


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
async def test_what_is_no_file_is_followed_without_blocking(bed: Bed, kind: str) -> None:
    bed.record()
    path = bed.out() / "stdout"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(bed.out() / "record")
        case "folder":
            path.mkdir()
    following = Following(await bed.open(follow=True))
    await asyncio.sleep(watches.LOOK * 3)
    bed.attempts(1, over=True)
    assert await following.ended() == b""


async def test_all_followers_of_an_attempt_share_one_watch_and_leave_none(bed: Bed) -> None:
    bed.record()
    bed.write(b"x")
    following = [Following(await bed.open(follow=True, step=step)) for step in ["agent"] * 20 + ["supervisor"] * 5]
    await following[0].until(b"x")
    await following[-1].until(await bed.all(step="supervisor"))
    assert len(bed.outputs._watches) == 1
    for one in following:
        one.task.cancel()
    await asyncio.wait([one.task for one in following])
    assert len(bed.outputs._watches) == 0
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "watch" in task.get_name()]


async def test_a_line_of_ten_megabytes_is_served_in_small_pieces(bed: Bed) -> None:
    bed.write(b"x" * 10_000_000)
    bed.attempts(1, over=True)
    sizes = [len(piece) async for piece in (await bed.open()).pieces]
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= steps.CHUNK
