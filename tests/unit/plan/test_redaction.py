"""What a hook or an agent printed of its secrets stands in no status, wherever it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.agentrun import StepState
from stromboli.models.run import RunStatus
from stromboli.plan import answer, outcome, redaction
from stromboli.plan.attempt import Records, StepRecord
from stromboli.plan.outcome import Outcome
from stromboli.plan.redaction import MASK, UNKNOWN, WITHHELD, Secrets
from stromboli.reasons import Reason
from stromboli.status.run import with_outcome
from tests.support.builders import end, records, result_event

KEY = "sk-0123456789-abcdef"
FILE = json.dumps({"claudeAiOauth": {"accessToken": "token-abcdef", "scopes": ["user:inference"], "expiresAt": 17}})


def ended_with(left: Records, secrets: Secrets) -> Outcome:
    return outcome.of(left, secrets, container_exit=1, oom=False, timeout=60.0, ran=1.0)


def test_the_values_are_the_variables_and_the_strings_of_the_file() -> None:
    found = redaction.given({"ANTHROPIC_API_KEY": KEY.encode(), "SHORT": b"short"}, FILE.encode())
    assert set(found.values) == {KEY, "token-abcdef", "user:inference"}


def test_a_file_that_is_no_json_is_a_secret_whole() -> None:
    assert redaction.given({}, b"not a json file").values == ("not a json file",)


def test_the_strings_of_a_deep_file_are_found() -> None:
    deep = "[" * 64 + '"a-deep-secret"' + "]" * 64
    assert redaction.given({}, deep.encode()).values == ("a-deep-secret",)
    deeper = f"[{deep}]"  # which no attempt is started with: see observe/references.py
    assert redaction.given({}, deeper.encode()).values == (deeper,)


def test_of_two_that_begin_alike_or_overlap_none_leaves_a_rest() -> None:
    secrets = Secrets(["password", "password-and-more", "and-more-to-come"])
    assert secrets.text("password-and-more password") == "*** ***"
    assert secrets.text("<password-and-more-to-come>") == "<***>"


@pytest.mark.parametrize(
    "secret", ['with "quotes" and \\ in it', "with ümläuts in it", "on two\nlines of it", "ends with a line feed\n"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_is_found_as_json_writes_it(secret: str, ascii_only: bool) -> None:
    written = json.dumps({"key": secret}, ensure_ascii=ascii_only)
    assert Secrets([secret]).text(written) == '{"key": "***"}'


def test_each_line_of_one_that_has_several_is_a_secret() -> None:
    secrets = Secrets(["-----BEGIN-----\nMIIEvQIBADAN\nend\n"])
    assert secrets.text("1: MIIEvQIBADAN, 2: end") == "1: ***, 2: end"


def test_what_has_the_shape_of_an_anthropic_key_is_masked_whosever_it_is() -> None:
    assert Secrets(()).text("key=sk-ant-api03-0123456789abcdef_-x.") == "key=***."
    assert Secrets(()).text("keys begin with sk-ant-api03-…") == "keys begin with sk-ant-api03-…"


@pytest.mark.parametrize("shown", [0, 1, 7, 8, 19, 20, 21])
def test_a_secret_across_the_end_of_an_answer_is_masked_whole(shown: int) -> None:
    """Clipped first, `shown` characters of it would stand at the end of the text."""
    said = "x" * (answer.MAX_TEXT - shown) + KEY + "y" * 100
    found = answer.parse(result_event(result=said), Secrets([KEY]))
    assert found is not None
    assert found.truncated
    assert len(found.text.encode()) <= answer.MAX_TEXT
    assert found.text.strip("xy") in MASK
    assert set(found.text) <= set("xy*")


def test_masks_do_not_draw_the_beginning_of_a_secret_into_an_answer() -> None:
    said = KEY * 3000
    found = answer.parse(result_event(result=said), Secrets([KEY]))
    assert found is not None
    assert set(found.text) == {"*"}


def test_messages_and_answers_are_without_them() -> None:
    left = records(
        end=end(cause="failed", exit_code=1),
        stdout=result_event(is_error=True, result=f"it is {KEY}", structured_output={KEY: [KEY, 1, {"a": KEY}]}),
    )
    ended = ended_with(left, Secrets([KEY]))
    assert ended.message == "the Claude CLI says: it is ***"
    assert ended.answer is not None
    assert ended.answer.text == "it is ***"
    assert ended.answer.structured == {"***": ["***", 1, {"a": "***"}]}


def test_while_they_are_not_known_an_answer_is_withheld_and_the_message_says_so() -> None:
    left = records(stdout=result_event(result=f"it is {KEY}", structured_output={"a": KEY}))
    ended = ended_with(left, UNKNOWN)
    assert ended.reason is Reason.Completed
    assert ended.message.startswith("answered in 1 turn; what the agent and the hooks wrote is withheld")
    status = with_outcome(RunStatus(), ended, left.steps).wire
    assert "result" not in status
    assert status["usage"]["turns"] == 1
    assert KEY not in json.dumps(status) + ended.message


@pytest.mark.parametrize("cause", ["failed", "timeout", "hooks-timeout", "cancelled"])
def test_while_they_are_not_known_no_message_shows_any_output(cause: str) -> None:
    step = StepRecord("postStart", 0, StepState.failed, 1, None, None, WITHHELD)
    left = records(
        end=end(cause=cause, exit_code=1),
        steps=(step,),
        stderr_tail=WITHHELD,
        stdout=result_event(is_error=True, result=KEY, errors=[KEY]),
    )
    ended = ended_with(left, UNKNOWN)
    assert KEY not in ended.message
    assert "is withheld" in ended.message


def test_without_any_output_nothing_is_withheld() -> None:
    left = records(end=None, stdout=b"")
    assert ended_with(left, UNKNOWN) == ended_with(left, Secrets(()))


@pytest.mark.parametrize(
    ("values", "said", "clean"),
    [
        (["abababab"], "<ababababab>", "<***>"),
        (["password-and-more", "word-and"], "<password-and-more>", "<***>"),
        (["first-one", "secondone"], "<first-onesecondone>", "<***>"),
        (["line-one-long\r\nend"], "<line-one-long\nend>", "<***>"),
        (["line-one-long\rend"], "<line-one-long\nend>", "<***>"),
    ],
)
def test_what_overlaps_itself_lies_in_another_or_touches_it_is_masked_whole(
    values: list[str], said: str, clean: str
) -> None:
    assert Secrets(values).text(said) == clean


def test_what_is_withheld_while_they_are_not_known() -> None:
    assert UNKNOWN.text("x") == UNKNOWN.tail("x", 9, cut=False) == WITHHELD
    assert UNKNOWN.head("x", 9) == (WITHHELD, False)
    assert UNKNOWN.text("") == UNKNOWN.tail("", 9, cut=False) == ""
    assert UNKNOWN.head("", 9) == ("", False)


def test_a_tail_that_may_begin_with_the_rest_of_a_secret_is_without_it() -> None:
    secrets = Secrets([KEY])
    rest = KEY[5:] + "y" * secrets.longest
    assert secrets.tail(rest, 10_000, cut=True).strip("y") == ""
    assert secrets.tail(rest, 10_000, cut=False) == rest
    longest = "k" * 600
    assert Secrets([longest]).tail(f"{longest}y", 100, cut=True) == "y", "what ends there needs no mask"
    assert secrets.tail("yyy", 0, cut=False) == ""


@pytest.mark.parametrize("said", ["", "nothing", KEY[:-1]])
def test_what_is_no_secret_stays(said: str) -> None:
    assert Secrets([KEY]).text(said) == said


@given(st.lists(st.text("ab", min_size=8, max_size=12), max_size=4), st.text("ab ", max_size=40), st.integers(0, 40))
def test_no_value_is_found_afterwards_however_it_is_cut(values: list[str], said: str, limit: int) -> None:
    secrets = Secrets(values)
    clean = secrets.text(said)
    for value in values:
        assert value not in clean
    head, _ = secrets.head(said, limit)
    assert clean.startswith(head.rstrip("*"))
    assert clean.endswith(secrets.tail(said, limit, cut=False).lstrip("*"))
