"""At most once: the whole truth table of what may be done with an attempt that is written down."""

from __future__ import annotations

from itertools import product

import pytest

from stromboli.plan import follow
from stromboli.plan.attempt import ALREADY_STARTED, CLI_MISSING, OUT_UNUSABLE, SECRET_MISSING, WORKDIR_UNUSABLE
from stromboli.plan.follow import MAX_ATTEMPTS, Next, Phase, Seen

BOOL = (False, True)
CODES = (None, 0, 1, WORKDIR_UNUSABLE, CLI_MISSING, ALREADY_STARTED, OUT_UNUSABLE, SECRET_MISSING, 137, 143)
ALL = [Seen(*row) for row in product(Phase, BOOL, BOOL, BOOL, BOOL, CODES, (1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS, 99))]
STARTS = (Next.launch, Next.mount_and_launch)


def _seen(phase: Phase, **fields: object) -> Seen:
    whole: dict[str, object] = {
        "phase": phase,
        "started": False,
        "sent": False,
        "ended": False,
        "same_boot": True,
        "exit_code": None,
        "number": 1,
    }
    return Seen(**(whole | fields))  # type: ignore[arg-type]


def test_the_table_is_whole() -> None:
    assert len(ALL) == 4 * 2**4 * len(CODES) * 4
    assert {follow.decide(seen) for seen in ALL} == set(Next)


def test_nothing_is_started_for_an_attempt_that_bears_started() -> None:
    assert [s for s in ALL if s.started and follow.decide(s) in STARTS] == []


def test_nothing_is_started_for_an_attempt_of_another_boot() -> None:
    assert [s for s in ALL if not s.same_boot and follow.decide(s) in STARTS] == []


def test_what_was_sent_is_never_tried_again_in_whatever_way() -> None:
    again = (*STARTS, Next.try_again)
    assert [s for s in ALL if s.sent and follow.decide(s) in again] == []


def test_what_runs_is_only_watched() -> None:
    assert {follow.decide(s) for s in ALL if s.phase is Phase.running} == {Next.watch}


def test_only_what_runs_is_watched() -> None:
    assert {s.phase for s in ALL if follow.decide(s) is Next.watch} == {Phase.running}


def test_what_was_sent_and_does_not_run_is_finished() -> None:
    assert {follow.decide(s) for s in ALL if s.sent and s.phase is not Phase.running} == {Next.finish}


def test_what_the_supervisor_ended_is_finished_unless_the_disk_was_full() -> None:
    ended = [s for s in ALL if s.ended and s.phase is not Phase.running and s.exit_code != OUT_UNUSABLE]
    assert {follow.decide(s) for s in ended} == {Next.finish}


def test_attempts_have_an_end() -> None:
    assert [s for s in ALL if s.number >= MAX_ATTEMPTS and follow.decide(s) is Next.try_again] == []


def test_another_attempt_only_where_this_one_can_never_go_on() -> None:
    for seen in ALL:
        if follow.decide(seen) is Next.try_again:
            assert not seen.sent
            assert seen.started or not seen.same_boot or seen.phase is Phase.exited


def test_the_container_is_made_again_only_while_none_has_run() -> None:
    for seen in ALL:
        if follow.decide(seen) is Next.launch:
            assert seen.phase in (Phase.absent, Phase.created)
            assert (seen.started, seen.sent) == (False, False)


def test_the_cli_is_mounted_again_only_for_who_missed_it() -> None:
    for seen in ALL:
        if follow.decide(seen) is Next.mount_and_launch:
            assert (seen.phase, seen.exit_code) == (Phase.exited, CLI_MISSING)
            assert (seen.started, seen.sent) == (False, False)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # the operator died between the write-ahead and the create, or the create and the start
        (_seen(Phase.absent), Next.launch),
        (_seen(Phase.created), Next.launch),
        # it runs, or ran on while the operator was away
        (_seen(Phase.running, started=True, sent=True), Next.watch),
        (_seen(Phase.exited, started=True, sent=True, ended=True, exit_code=0), Next.finish),
        (_seen(Phase.exited, started=True, sent=True, ended=True, exit_code=137), Next.finish),
        # killed in the middle of it
        (_seen(Phase.exited, started=True, sent=True, exit_code=137), Next.finish),
        (_seen(Phase.absent, started=True, sent=True), Next.finish),
        # killed before the prompt
        (_seen(Phase.exited, started=True, exit_code=137), Next.try_again),
        (_seen(Phase.absent, started=True), Next.try_again),
        (_seen(Phase.exited, started=True, exit_code=137, number=MAX_ATTEMPTS), Next.finish),
        # the machine was started anew
        (_seen(Phase.absent, same_boot=False), Next.try_again),
        (_seen(Phase.exited, same_boot=False, exit_code=0), Next.try_again),
        (_seen(Phase.exited, same_boot=False, started=True, sent=True), Next.finish),
        # the supervisor's own reasons
        (_seen(Phase.exited, exit_code=CLI_MISSING), Next.mount_and_launch),
        (_seen(Phase.exited, exit_code=CLI_MISSING, same_boot=False), Next.try_again),
        (_seen(Phase.exited, exit_code=SECRET_MISSING), Next.try_again),
        (_seen(Phase.exited, exit_code=OUT_UNUSABLE), Next.try_again),
        (_seen(Phase.exited, started=True, ended=True, exit_code=OUT_UNUSABLE), Next.try_again),
        (_seen(Phase.exited, started=True, ended=True, exit_code=WORKDIR_UNUSABLE), Next.finish),
    ],
)
def test_the_cases_by_name(seen: Seen, expected: Next) -> None:
    assert follow.decide(seen) is expected
