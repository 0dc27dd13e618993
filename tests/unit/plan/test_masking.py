"""Secrets in an output: masked byte for byte, and in the same places however the output is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan.masking import Flow, Masks
from stromboli.plan.redaction import KEYS, UNKNOWN, Secrets

KEY = b"sk-ant-" + b"k" * 20


def whole(masks: Masks, text: bytes) -> bytes:
    return masks.masked(text, 0, last=True).data


def read(masks: Masks, text: bytes, offset: int, sizes: list[int]) -> bytes:
    """What a reader gets from an offset on, to whom the text becomes known in pieces of these sizes."""
    found, known = b"", offset
    for size in [*sizes, len(text)]:
        known = min(known + size, len(text))
        at = offset + len(found)
        begin = max(at - masks.reach, 0)
        found += masks.masked(text[begin:known], at - begin, last=known == len(text)).data
    return found


# Secrets and texts of few letters, so that secrets begin, repeat and overlap everywhere.
SECRETS = st.lists(st.text("ab\n", min_size=8, max_size=12), max_size=3).map(Secrets)
TEXTS = st.lists(
    st.sampled_from(
        [b"a", b"b", b"\n", b"\\n", b"aaaaaaaa", b"abababab", b"sk-ant-", b"k" * 15, b"k" * 300, b"-", b" "]
    ),
    max_size=40,
).map(b"".join)
SIZES = st.lists(st.integers(0, 30), max_size=30)


@given(secrets=SECRETS, text=TEXTS, offset=st.integers(0, 200), sizes=SIZES)
def test_in_pieces_from_any_offset_it_is_as_when_it_is_read_whole(
    secrets: Secrets, text: bytes, offset: int, sizes: list[int]
) -> None:
    masks, offset = Masks(secrets), min(offset, len(text))
    assert read(masks, text, offset, sizes) == whole(masks, text)[offset:]


@given(secrets=SECRETS, text=TEXTS, sizes=SIZES)
def test_as_it_comes_it_is_as_when_it_is_read_whole(secrets: Secrets, text: bytes, sizes: list[int]) -> None:
    masks = Masks(secrets)
    flow, found, at = Flow(masks), b"", 0
    for size in sizes:
        found += flow.masked(text[at : at + size])
        at += size
    assert found + flow.masked(text[at:], last=True) == whole(masks, text)


@given(data=st.data(), sizes=SIZES)
def test_secrets_of_any_characters_are_masked_wherever_they_are(data: st.DataObject, sizes: list[int]) -> None:
    secret = data.draw(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="�"), min_size=8))
    around = data.draw(st.lists(st.binary(max_size=20), min_size=2, max_size=5))
    text = secret.encode().join(around)
    masks = Masks(Secrets([secret]))
    found = read(masks, text, 0, sizes)
    assert len(found) == len(text)
    assert secret.encode() not in found
    assert all(a == b or b == ord("*") for a, b in zip(text, found, strict=True))


def test_offsets_stay_true_and_json_stays_json() -> None:
    secret = 'with "quotes", \\ and ümläuts'
    for ascii_only in (True, False):
        text = json.dumps({"key": secret, "after": 1}, ensure_ascii=ascii_only).encode()
        found = whole(Masks(Secrets([secret])), text)
        assert len(found) == len(text)
        assert set(json.loads(found)["key"]) == {"*"}


def test_each_line_of_one_that_has_several_is_masked() -> None:
    assert whole(Masks(Secrets(["first line\nlast line"])), b"<last line>") == b"<*********>"


def test_nothing_is_held_back_that_begins_no_secret() -> None:
    masks = Masks(Secrets(["password-1"]))
    assert masks.masked(b"a line\n", 0, last=False).data == b"a line\n"
    held = masks.masked(b"it is pass", 0, last=False)
    assert (held.data, held.begun) == (b"it is ", 4)


def test_of_a_key_all_is_masked_and_its_beginning_held_back() -> None:
    masks = Masks(KEYS)
    assert whole(masks, b"<" + KEY + b">") == b"<" + b"*" * len(KEY) + b">"
    assert masks.masked(b"<sk-ant-kkk", 0, last=False).data == b"<"
    assert masks.masked(b"<" + KEY, 0, last=False).data == b"<" + b"*" * len(KEY)


@pytest.mark.parametrize(
    ("secrets", "text"), [(Secrets(["s" + "x" * 599]), b"s" + b"x" * 599), (KEYS, b"sk-ant-" + b"k" * 512)]
)
def test_to_its_last_byte_the_longest_is_masked(secrets: Secrets, text: bytes) -> None:
    masks = Masks(secrets)
    assert masks.reach == len(text) - 1
    for offset in range(len(text)):
        assert read(masks, text + b"!", offset, [1]) == b"*" * (len(text) - offset) + b"!"


def test_what_was_sent_of_a_secret_does_not_show_its_rest() -> None:
    masks = Masks(Secrets(["password-1"]))
    assert masks.masked(b"password-1.", 3, last=False).data == b"*******."
    assert masks.masked(b"password", 3, last=False).data == b""


def test_of_a_value_that_is_no_utf_8_the_parts_are_masked() -> None:
    value = b"\xff\xfebinary-secret\xff".decode("utf-8", "replace")
    assert whole(Masks(Secrets([value])), b"\xff\xfebinary-secret\xff") == b"\xff\xfe*************\xff"


def test_without_its_secrets_nothing_is_shown() -> None:
    with pytest.raises(AssertionError):
        Masks(UNKNOWN)
