"""What is done with an attempt that is written down, above all at most once: the whole truth table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import get_args

import pytest

from stromboli.grammar import times
from stromboli.models.agentrun import PromptSent
from stromboli.models.run import DEFAULT_GRACE, Run
from stromboli.plan import follow, progress
from stromboli.plan.attempt import ALREADY_STARTED, CLI_MISSING, OUT_UNUSABLE, SECRET_MISSING, WORKDIR_UNUSABLE
from stromboli.plan.follow import (
    MAX_ATTEMPTS,
    Action,
    AwaitCLI,
    Cancel,
    EndAttempt,
    Finish,
    FollowAgent,
    FollowEnd,
    FollowHooks,
    GiveUp,
    HoldBack,
    Launch,
    Pause,
    Phase,
    Seen,
    TryAgain,
)
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason
from tests.support import builders

BOOL = (False, True)
CODES = (None, -1, 0, 1, WORKDIR_UNUSABLE, CLI_MISSING, ALREADY_STARTED, OUT_UNUSABLE, SECRET_MISSING, 137, 143, 255)
NUMBERS = (1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS, 99)
TIMEOUT = 60.0
RAN = (None, 0.0, TIMEOUT - 0.1, TIMEOUT, TIMEOUT + follow.CALL_AFTER, TIMEOUT + follow.KILL_AFTER, 1e6)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FOLLOWING = (FollowHooks, FollowAgent)
AGAIN = (Launch, TryAgain, AwaitCLI)
SINCE_END = 3.0  # seconds


def run(number: int = 1, *, reason: Reason = Reason.Running, age: float = 100.0) -> Run:
    """A run in a session whose last attempt was written down `age` seconds ago."""
    attempt = {
        "number": number,
        "container": "stromboli-x",
        "bootID": "this",
        "timeout": "1m",
        "startedAt": times.to_micro(NOW - timedelta(seconds=age)),
    }
    made = builders.read(builders.at(reason), builders.having(session={"name": "story"}))
    status = type(made.status).of({**made.status.wire, "attempts": [attempt]})
    return replace(made, status=status)


def seen(phase: Phase, *, ran: float | None = 5.0, **fields: object) -> Seen:
    """What is there of an attempt whose container ran for `ran` seconds, until now or until SINCE_END ago."""
    end = NOW if phase is Phase.running else NOW - timedelta(seconds=SINCE_END)
    whole: dict[str, object] = {
        "phase": phase,
        "started": False,
        "sent": False,
        "ended": False,
        "same_boot": True,
        "exit_code": None,
        "started_at": None if ran is None else end - timedelta(seconds=ran),
        "ended_at": None if ran is None or phase is Phase.running else end,
    }
    return Seen(**(whole | fields))  # type: ignore[arg-type]


RUNS = {number: run(number) for number in NUMBERS}
# Each row with the number of its attempt and the seconds that it ran.
ALL = [
    (
        number,
        ran,
        seen(phase, ran=ran, started=started, sent=sent, ended=ended, same_boot=same_boot, exit_code=exit_code),
    )
    for phase, started, sent, ended, same_boot, exit_code, number, ran in product(
        Phase, BOOL, BOOL, BOOL, BOOL, CODES, NUMBERS, RAN
    )
]
DECIDED = [(number, ran, s, follow.decide(RUNS[number], s, NOW)) for number, ran, s in ALL]


def test_the_table_is_whole() -> None:
    assert len(ALL) == 4 * 2**4 * len(CODES) * len(NUMBERS) * len(RAN)
    elsewhere = {FollowHooks, Cancel, HoldBack, Pause}
    assert {type(said) for *_, said in DECIDED} == set(get_args(Action)) - elsewhere


def test_nothing_is_started_for_an_attempt_whose_first_seal_is_broken() -> None:
    assert [s for *_, s, said in DECIDED if s.started and isinstance(said, Launch)] == []


def test_nothing_is_started_for_an_attempt_of_another_boot() -> None:
    assert [s for *_, s, said in DECIDED if not s.same_boot and isinstance(said, Launch)] == []


def test_whatever_is_forged_what_was_sent_is_never_tried_again() -> None:
    """Records and exit codes are all that an agent can forge: no combination of them leads to a second prompt."""
    assert [s for *_, s, said in DECIDED if s.sent and isinstance(said, AGAIN)] == []


def test_what_a_child_can_forge_mounts_no_cli_and_repeats_no_hooks() -> None:
    """Once something of the image has run, exit codes but for a kill's are the supervisor's map of a child's."""
    for *_, s, said in DECIDED:
        if s.started and s.phase is Phase.exited and s.same_boot and s.exit_code is not None:
            assert not doubts_the_cli(said)
            if s.exit_code not in (*follow.KILLED, OUT_UNUSABLE):
                assert isinstance(said, Finish)


def test_what_runs_is_followed_while_its_time_is_not_up_and_ended_by_and_by() -> None:
    for _, ran, s, said in DECIDED:
        if s.phase is not Phase.running:
            continue
        over = (ran or 0.0) - TIMEOUT
        if over < follow.CALL_AFTER:
            assert isinstance(said, FOLLOWING)
        else:
            assert isinstance(said, EndAttempt)
            expected = "KILL" if over >= follow.KILL_AFTER else "USR1"
            assert (said.container, said.signal) == ("stromboli-x", expected)
            assert isinstance(said.then, FOLLOWING)


def test_only_what_runs_is_followed_or_ended() -> None:
    assert {s.phase for *_, s, said in DECIDED if isinstance(said, (*FOLLOWING, EndAttempt))} == {Phase.running}


@pytest.mark.parametrize(
    ("ran", "delay"),
    [(None, 61.0), (0.0, 61.0), (59.0, 2.0), (61.0, 14.0), (75.0, 5.0), (1e6, 5.0)],
)
def test_whoever_hears_nothing_looks_in_time(ran: float | None, delay: float) -> None:
    """The agent's output is looked at as well, at least every 30 s."""
    said = follow.decide(run(), seen(Phase.running, started=True, step="postStart[0]", ran=ran), NOW)
    assert followed(said).until == pytest.approx(delay)
    said = follow.decide(run(), seen(Phase.running, started=True, sent=True, ran=ran), NOW)
    assert followed(said).until == pytest.approx(min(delay, progress.LAST_CHECK))


def test_the_supervisor_has_the_time_that_it_gives_a_step() -> None:
    assert follow.KILL_AFTER > follow.CALL_AFTER + DEFAULT_GRACE + 1.0


def test_what_was_ended_for_its_time_is_not_tried_again_whatever_became_of_its_records() -> None:
    for _, ran, s, said in DECIDED:
        if s.started and s.phase is Phase.exited and ran is not None and ran >= TIMEOUT:
            assert isinstance(said, Finish)


def test_what_the_supervisor_ended_is_finished_unless_the_disk_was_full() -> None:
    whole = [(s, said) for *_, s, said in DECIDED if s.ended and s.started and s.phase is not Phase.running]
    assert {type(said) for s, said in whole if s.exit_code != OUT_UNUSABLE} == {Finish}


def test_an_end_is_judged_by_the_time_that_the_container_ran() -> None:
    for _, ran, s, said in DECIDED:
        if isinstance(said, Finish):
            assert (said.timeout, said.ended_at) == (TIMEOUT, s.ended_at)
            assert said.ran == (None if ran is None else pytest.approx(ran))


def test_attempts_have_an_end() -> None:
    assert [s for n, _, s, said in DECIDED if n >= MAX_ATTEMPTS and isinstance(said, TryAgain | AwaitCLI)] == []


def test_another_attempt_only_where_this_one_can_never_go_on() -> None:
    for number, _, s, said in DECIDED:
        if isinstance(said, TryAgain):
            assert not s.sent
            assert s.started or not s.same_boot or s.phase is Phase.exited
            assert (said.number, said.exit_code, said.ended_at) == (number + 1, s.exit_code, s.ended_at)


def test_what_never_began_is_tried_again_however_long_its_container_was_there() -> None:
    """As after a mount that hung: the time of an attempt is that of what it runs."""
    assert isinstance(follow.decide(run(), seen(Phase.exited, exit_code=137, ran=1e6), NOW), TryAgain)


def test_what_left_too_much_is_not_tried_again() -> None:
    cut_short = seen(Phase.exited, started=True, exit_code=137)
    assert isinstance(follow.decide(run(), cut_short, NOW), TryAgain)
    assert isinstance(follow.decide(run(), replace(cut_short, too_large=True), NOW), Finish)


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    said = follow.decide(run(), seen(Phase.exited, started=True, sent=True, ran=-30.0), NOW)
    assert said == Finish(TIMEOUT, 0.0, NOW - timedelta(seconds=SINCE_END))


def test_the_container_is_made_again_only_while_none_has_run() -> None:
    for number, _, s, said in DECIDED:
        if isinstance(said, Launch):
            assert said.number == number
            assert s.phase in (Phase.absent, Phase.created)
            assert (s.started, s.sent) == (False, False)


def test_the_cli_is_looked_for_only_where_the_supervisor_itself_missed_it() -> None:
    for *_, s, said in DECIDED:
        if doubts_the_cli(said):
            assert (s.started, s.sent, s.exit_code) == (False, False, CLI_MISSING)


def test_a_cli_that_is_not_found_is_looked_for_less_and_less_often() -> None:
    missed = seen(Phase.exited, exit_code=CLI_MISSING)
    assert [follow.pause(number) for number in range(1, MAX_ATTEMPTS)] == [0.0, 5.0, 10.0, 20.0]
    assert follow.decide(run(1), missed, NOW) == TryAgain(
        2, Reason.CLIImageUnavailable, follow._NO_CLI, doubt_cli=True, exit_code=CLI_MISSING, ended_at=missed.ended_at
    )
    for number in range(2, MAX_ATTEMPTS):
        left = follow.pause(number) - SINCE_END
        assert follow.decide(run(number), missed, NOW) == AwaitCLI(
            Wait(Reason.CLIImageUnavailable, follow._NO_CLI, left)
        )
        assert isinstance(follow.decide(run(number), missed, NOW + timedelta(seconds=left)), TryAgain)


def test_a_run_whose_session_was_deleted_is_cancelled_whatever_is_seen() -> None:
    expected = Cancel(Reason.Canceled, "its session story was deleted during the run")
    for _, _, s in ALL[::97]:
        assert follow.decide(run(), replace(s, session_deleted=True), NOW) == expected


def test_hooks_are_followed_until_the_prompt_is_sent() -> None:
    began = seen(Phase.running, started=True)
    assert isinstance(follow.decide(run(reason=Reason.Starting), began, NOW), FollowAgent)
    said = follow.decide(run(reason=Reason.RunningHooks), began, NOW)
    assert isinstance(said, FollowHooks)
    assert (said.message, said.again) == ("the hooks of spec.lifecycle are running", follow.HOOKS_RECHECK)
    said = follow.decide(run(reason=Reason.Starting), replace(began, step="postStart[1]"), NOW)
    assert isinstance(said, FollowHooks)
    assert said.message == "postStart[1] is running"
    assert isinstance(
        follow.decide(run(reason=Reason.RunningHooks), replace(began, step="postStart[1]", sent=True), NOW), FollowAgent
    )


def test_an_agent_is_said_to_be_at_work_once_it_has_been_for_a_moment() -> None:
    at_work = seen(Phase.running, started=True, sent=True)
    said = follow.decide(run(reason=Reason.Starting, age=0.25), at_work, NOW)
    assert isinstance(said, FollowAgent)
    assert said.quiet == pytest.approx(follow.AT_WORK_AFTER - 0.25)
    for later in (run(reason=Reason.Starting, age=1.5), run(reason=Reason.Running, age=0.25)):
        said = follow.decide(later, at_work, NOW)
        assert isinstance(said, FollowAgent)
        assert said.quiet == 0.0


def test_what_has_just_been_started_is_followed_by_what_comes_first_in_it() -> None:
    fresh = run(reason=Reason.Starting, age=0.0)
    assert isinstance(follow.begun(fresh, NOW, hooks=True), FollowHooks)
    said = follow.begun(fresh, NOW, hooks=False)
    assert said == FollowAgent(progress.FIRST_CHECK, follow.AT_WORK_AFTER)


def test_a_wait_that_took_too_long_ends_the_run_unless_its_attempt_has_ended_meanwhile() -> None:
    away = Wait(Reason.PodmanUnavailable, "Podman does not answer", 2.0)
    given_up = GiveUp(Reason.TimedOut, "gave up after 1m (PodmanUnavailable): Podman does not answer")
    unseen = seen(Phase.absent, started=True, sent=True, ran=None)
    assert follow.out_of_time(run(), None, NOW, away, TIMEOUT) == given_up
    assert follow.out_of_time(run(), unseen, NOW, away, TIMEOUT) == given_up
    ended = replace(unseen, ended=True)
    assert follow.out_of_time(run(), ended, NOW, away, TIMEOUT) == Finish(TIMEOUT, None, None)


def doubts_the_cli(said: Action) -> bool:
    return isinstance(said, AwaitCLI) or (isinstance(said, TryAgain) and said.doubt_cli)


def followed(said: Action) -> FollowHooks | FollowAgent:
    found = said.then if isinstance(said, EndAttempt) else said
    assert isinstance(found, FOLLOWING)
    return found


@pytest.mark.parametrize(
    ("saw", "expected"),
    [
        # the operator died between the write-ahead and the create, or the create and the start
        ((1, seen(Phase.absent)), Launch),
        ((1, seen(Phase.created)), Launch),
        # it runs, or ran on while the operator was away
        ((1, seen(Phase.running, started=True, sent=True)), FollowAgent),
        ((1, seen(Phase.exited, started=True, sent=True, ended=True, exit_code=0)), Finish),
        ((1, seen(Phase.exited, started=True, sent=True, ended=True, exit_code=137)), Finish),
        # killed in the middle of it
        ((1, seen(Phase.exited, started=True, sent=True, exit_code=137)), Finish),
        ((1, seen(Phase.absent, started=True, sent=True)), Finish),
        # killed before the prompt
        ((1, seen(Phase.exited, started=True, exit_code=137)), TryAgain),
        ((1, seen(Phase.absent, started=True)), TryAgain),
        ((MAX_ATTEMPTS, seen(Phase.exited, started=True, exit_code=137)), Finish),
        # the machine was started anew
        ((1, seen(Phase.absent, same_boot=False)), TryAgain),
        ((1, seen(Phase.exited, same_boot=False, exit_code=0)), TryAgain),
        ((1, seen(Phase.exited, same_boot=False, started=True, sent=True)), Finish),
        # it removed its record, and every trace of what it was handed
        ((1, seen(Phase.exited, started=True, sent=True, exit_code=CLI_MISSING)), Finish),
        ((1, seen(Phase.exited, started=True, exit_code=CLI_MISSING)), Finish),
        ((1, seen(Phase.exited, started=True, exit_code=1)), Finish),
        ((1, seen(Phase.exited, started=True, exit_code=255)), TryAgain),
        ((1, seen(Phase.exited, started=True, exit_code=1, same_boot=False)), TryAgain),
        # the supervisor's own reasons
        ((1, seen(Phase.exited, exit_code=CLI_MISSING)), TryAgain),
        ((MAX_ATTEMPTS, seen(Phase.exited, exit_code=CLI_MISSING)), Finish),
        ((1, seen(Phase.exited, exit_code=SECRET_MISSING)), TryAgain),
        ((1, seen(Phase.exited, exit_code=OUT_UNUSABLE)), TryAgain),
        ((1, seen(Phase.exited, started=True, ended=True, exit_code=OUT_UNUSABLE)), TryAgain),
        ((1, seen(Phase.exited, started=True, ended=True, exit_code=WORKDIR_UNUSABLE)), Finish),
    ],
)
def test_the_cases_by_name(saw: tuple[int, Seen], expected: type[Action]) -> None:
    number, what = saw
    assert type(follow.decide(run(number), what, NOW)) is expected


# --- what a run's spec says meanwhile ---


def asking(asked: Run, **spec: object) -> Run:
    return replace(asked, spec={**asked.spec, **spec})


def between(number: int = 1, *, sent: PromptSent = PromptSent.yes, wait: float | None = 10.0, **spec: object) -> Run:
    """A run whose last attempt has ended, and whose next one begins `wait` seconds after that."""
    made = run(number)
    ended = {"reason": "AgentFailed", "promptSent": str(sent), "finishedAt": times.to_micro(NOW)}
    wire = {**made.status.wire, "attempts": [{**made.status.wire["attempts"][0], **ended}]}
    if wait is not None:
        wire["nextAttemptTime"] = times.to_micro(NOW + timedelta(seconds=wait))
    return replace(asking(made, **spec), status=type(made.status).of(wire))


def test_nothing_is_started_for_a_run_that_was_canceled_whatever_is_seen() -> None:
    for number in NUMBERS:
        for made in (asking(RUNS[number], cancel=True), between(number, cancel=True), between(number, suspend=True)):
            assert [s for *_, s in ALL[::7] if isinstance(follow.decide(made, s, NOW), AGAIN)] == []


def test_a_canceled_run_is_asked_to_end_at_once_and_killed_when_its_grace_is_over() -> None:
    canceled = asking(run(), cancel=True, terminationGracePeriod="3s")
    at_work = seen(Phase.running, started=True, sent=True)
    for since, signal, again in ((0.0, "TERM", 4.0), (3.5, "TERM", 0.5), (4.0, "KILL", 5.0), (99.0, "KILL", 5.0)):
        said = follow.decide(canceled, replace(at_work, canceling=since), NOW)
        assert isinstance(said, EndAttempt)
        assert isinstance(said.then, FollowEnd)
        assert said.signal == signal
        assert said.then.again == pytest.approx(again)


def test_what_had_not_begun_when_the_run_was_canceled_says_that_nothing_was_sent() -> None:
    canceled = asking(run(), cancel=True)
    for phase in (Phase.absent, Phase.created, Phase.exited):
        said = follow.decide(canceled, seen(phase), NOW)
        assert isinstance(said, Cancel)
        assert said.sent is PromptSent.no
    assert isinstance(follow.decide(canceled, seen(Phase.exited, started=True), NOW), Finish)
    assert isinstance(follow.decide(canceled, seen(Phase.exited, started=True, sent=True), NOW), Finish)


def test_before_the_first_attempt_a_run_is_held_back_or_canceled() -> None:
    fresh = builders.read(builders.having())
    assert follow.before_start(fresh) is None
    assert isinstance(follow.before_start(asking(fresh, suspend=True)), HoldBack)
    assert isinstance(follow.before_start(asking(fresh, suspend=True, cancel=True)), Cancel)


def test_the_next_attempt_begins_when_its_time_has_come() -> None:
    """By the clock that nobody sets: `now` does not matter."""
    gone = seen(Phase.exited, started=True, sent=True)
    for now in (NOW, NOW + timedelta(hours=1), NOW - timedelta(hours=1)):
        assert follow.decide(between(), replace(gone, rested=4.0), now) == Pause(6.0)
        assert follow.decide(between(), replace(gone, rested=10.0), now) == Launch(2)
    assert follow.decide(between(wait=None), gone, NOW) == Launch(2)


def test_nothing_is_started_for_a_suspended_run_whatever_is_seen() -> None:
    for number, _, s in ALL:
        said = follow.decide(asking(RUNS[number], suspend=True), s, NOW)
        assert not isinstance(said, AGAIN)


def test_a_suspended_run_waits_between_two_attempts() -> None:
    gone = seen(Phase.exited, started=True, sent=True, rested=99.0)
    assert isinstance(follow.decide(between(suspend=True), gone, NOW), HoldBack)
    assert isinstance(follow.decide(asking(run(), suspend=True), seen(Phase.running), NOW), FollowAgent)


def test_a_wait_between_two_attempts_that_took_too_long_does_not_judge_the_last_one_again() -> None:
    away = Wait(Reason.PodmanUnavailable, "Podman does not answer", 2.0)
    ended = seen(Phase.absent, started=True, sent=True, ended=True)
    assert isinstance(follow.out_of_time(between(), ended, NOW, away, TIMEOUT), GiveUp)


def test_attempts_that_sent_nothing_count_against_the_limit_of_the_spec() -> None:
    cut_short = seen(Phase.exited, started=True, exit_code=137)
    for limit, number in ((0, 1), (2, 3), (50, 51)):
        assert isinstance(follow.decide(asking(run(number), backoffLimit=limit), cut_short, NOW), Finish)
        if number > 1:
            assert isinstance(follow.decide(asking(run(number - 1), backoffLimit=limit), cut_short, NOW), TryAgain)
    assert follow.pause(51) == follow.LONGEST_PAUSE


def test_a_cli_that_writes_nothing_for_too_long_is_ended() -> None:
    impatient = asking(run(), progressTimeout="20s", terminationGracePeriod="2s")
    at_work = seen(Phase.running, started=True, sent=True, ran=5.0)
    said = follow.decide(impatient, replace(at_work, silent=19.0), NOW)
    assert isinstance(said, FollowAgent)
    assert said.until == pytest.approx(1.0)
    for silent, signal in ((20.0, "HUP"), (25.9, "HUP"), (26.0, "KILL")):
        said = follow.decide(impatient, replace(at_work, silent=silent), NOW)
        assert isinstance(said, EndAttempt)
        assert said.signal == signal
    hooks = replace(at_work, sent=False, step="postStart[0]", silent=99.0)
    assert isinstance(follow.decide(impatient, hooks, NOW), FollowHooks)


def test_the_time_that_a_container_runs_is_not_that_of_the_nodes_clock() -> None:
    for ran, expected in ((30.0, FollowAgent), (TIMEOUT + 2, EndAttempt)):
        for wrong in (0.0, 7200.0):
            what = seen(Phase.running, started=True, sent=True, ran=wrong)
            assert isinstance(follow.decide(run(), replace(what, ran=ran), NOW), expected)
