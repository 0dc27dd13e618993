"""At most once: the whole truth table of what may be done with an attempt that is written down."""

from __future__ import annotations

from itertools import product

import pytest

from stromboli.plan import follow
from stromboli.plan.attempt import ALREADY_STARTED, CLI_MISSING, OUT_UNUSABLE, SECRET_MISSING, WORKDIR_UNUSABLE
from stromboli.plan.follow import MAX_ATTEMPTS, Next, Phase, Seen

BOOL = (False, True)
CODES = (None, -1, 0, 1, WORKDIR_UNUSABLE, CLI_MISSING, ALREADY_STARTED, OUT_UNUSABLE, SECRET_MISSING, 137, 143, 255)
NUMBERS = (1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS, 99)
TIMEOUT = 60.0
RAN = (None, 0.0, TIMEOUT - 0.1, TIMEOUT, TIMEOUT + follow.CALL_AFTER, TIMEOUT + follow.KILL_AFTER, 1e6)
ALL = [Seen(*row, TIMEOUT) for row in product(Phase, BOOL, BOOL, BOOL, BOOL, CODES, NUMBERS, RAN)]
AGAIN = (Next.launch, Next.try_again, Next.look_for_cli)


def _seen(phase: Phase, **fields: object) -> Seen:
    whole: dict[str, object] = {
        "phase": phase,
        "started": False,
        "sent": False,
        "ended": False,
        "same_boot": True,
        "exit_code": None,
        "number": 1,
        "ran": 5.0,
        "timeout": TIMEOUT,
    }
    return Seen(**(whole | fields))  # type: ignore[arg-type]


def test_the_table_is_whole() -> None:
    assert len(ALL) == 4 * 2**4 * len(CODES) * len(NUMBERS) * len(RAN)
    assert {follow.decide(seen) for seen in ALL} == set(Next)


def test_nothing_is_started_for_an_attempt_whose_first_seal_is_broken() -> None:
    assert [s for s in ALL if s.started and follow.decide(s) is Next.launch] == []


def test_nothing_is_started_for_an_attempt_of_another_boot() -> None:
    assert [s for s in ALL if not s.same_boot and follow.decide(s) is Next.launch] == []


def test_whatever_is_forged_what_was_sent_is_never_tried_again() -> None:
    """Records and exit codes are all that an agent can forge: no combination of them leads to a second prompt."""
    assert [s for s in ALL if s.sent and follow.decide(s) in AGAIN] == []


def test_what_a_child_can_forge_mounts_no_cli_and_repeats_no_hooks() -> None:
    """Once something of the image has run, exit codes but for a kill's are the supervisor's map of a child's."""
    for seen in ALL:
        if seen.started and seen.phase is Phase.exited and seen.same_boot and seen.exit_code is not None:
            assert follow.decide(seen) is not Next.look_for_cli
            if seen.exit_code not in (*follow.KILLED, OUT_UNUSABLE):
                assert follow.decide(seen) is Next.finish


def test_what_runs_is_watched_while_its_time_is_not_up_and_ended_by_and_by() -> None:
    for seen in ALL:
        if seen.phase is Phase.running:
            over = (seen.ran or 0.0) - TIMEOUT
            expected = Next.watch
            if over >= follow.CALL_AFTER:
                expected = Next.kill if over >= follow.KILL_AFTER else Next.call_time
            assert follow.decide(seen) is expected


def test_only_what_runs_is_watched_or_ended() -> None:
    going = (Next.watch, Next.call_time, Next.kill)
    assert {s.phase for s in ALL if follow.decide(s) in going} == {Phase.running}


@pytest.mark.parametrize(
    ("ran", "delay"),
    [(None, 61.0), (0.0, 61.0), (59.0, 2.0), (61.0, 14.0), (75.0, 5.0), (1e6, 5.0)],
)
def test_whoever_hears_nothing_looks_in_time(ran: float | None, delay: float) -> None:
    assert follow.next_look(_seen(Phase.running, ran=ran)) == pytest.approx(delay)


def test_the_supervisor_has_the_time_that_it_gives_a_step() -> None:
    assert follow.KILL_AFTER > follow.CALL_AFTER + follow.GRACE + 1.0


def test_what_was_ended_for_its_time_is_not_tried_again_whatever_became_of_its_records() -> None:
    for seen in ALL:
        if seen.started and seen.phase is Phase.exited and follow.is_over(seen):
            assert follow.decide(seen) is Next.finish


def test_what_was_sent_and_does_not_run_is_finished() -> None:
    assert {follow.decide(s) for s in ALL if s.sent and s.phase is not Phase.running} == {Next.finish}


def test_what_the_supervisor_ended_is_finished_unless_the_disk_was_full() -> None:
    whole = [s for s in ALL if s.ended and s.started and s.phase is not Phase.running]
    ended = [s for s in whole if s.exit_code != OUT_UNUSABLE]
    assert {follow.decide(s) for s in ended} == {Next.finish}


def test_attempts_have_an_end() -> None:
    again = (Next.try_again, Next.look_for_cli)
    assert [s for s in ALL if s.number >= MAX_ATTEMPTS and follow.decide(s) in again] == []


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


def test_the_cli_is_looked_for_only_where_the_supervisor_itself_missed_it() -> None:
    for seen in ALL:
        if follow.decide(seen) is Next.look_for_cli:
            assert (seen.started, seen.sent, seen.exit_code) == (False, False, CLI_MISSING)


def test_a_cli_that_is_not_found_is_looked_for_less_and_less_often() -> None:
    assert [follow.pause(number) for number in range(1, MAX_ATTEMPTS)] == [0.0, 5.0, 10.0, 20.0]


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
        # it removed its record, and every trace of what it was handed
        (_seen(Phase.exited, started=True, sent=True, exit_code=CLI_MISSING), Next.finish),
        (_seen(Phase.exited, started=True, exit_code=CLI_MISSING), Next.finish),
        (_seen(Phase.exited, started=True, exit_code=1), Next.finish),
        (_seen(Phase.exited, started=True, exit_code=255), Next.try_again),
        (_seen(Phase.exited, started=True, exit_code=1, same_boot=False), Next.try_again),
        # the supervisor's own reasons
        (_seen(Phase.exited, exit_code=CLI_MISSING), Next.look_for_cli),
        (_seen(Phase.exited, exit_code=CLI_MISSING, number=MAX_ATTEMPTS), Next.finish),
        (_seen(Phase.exited, exit_code=SECRET_MISSING), Next.try_again),
        (_seen(Phase.exited, exit_code=OUT_UNUSABLE), Next.try_again),
        (_seen(Phase.exited, started=True, ended=True, exit_code=OUT_UNUSABLE), Next.try_again),
        (_seen(Phase.exited, started=True, ended=True, exit_code=WORKDIR_UNUSABLE), Next.finish),
    ],
)
def test_the_cases_by_name(seen: Seen, expected: Next) -> None:
    assert follow.decide(seen) is expected
