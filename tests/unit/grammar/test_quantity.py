"""grammar/quantity.py: bytes and thousandths of a CPU, common mistakes, and the schema's expressions."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar.quantity import CPU_RE2, MAX_BYTES, MEMORY_RE2, memory_bytes, millicpus

MEMORY = {
    "512Mi": 512 * 1024**2,
    "+512Mi": 512 * 1024**2,
    "1Ki": 1024,
    "1.5Gi": 1610612736,
    ".5Gi": 536870912,
    "1.Gi": 1073741824,
    "2Ti": 2 * 1024**4,
    "1Pi": 1024**5,
    "1Ei": 1024**6,
    "1k": 1000,
    "512M": 512_000_000,
    "2G": 2_000_000_000,
    "1E": 10**18,
    "1E6": 1_000_000,
    "1e6": 1_000_000,
    "12e+3": 12_000,
    "6291456": 6291456,
    "007": 7,
    str(MAX_BYTES): MAX_BYTES,
}

BAD_MEMORY = {
    "512m": "write 512Mi",
    "1.5m": "write 1.5Mi",
    "512u": "is a fraction of a byte",
    "512n": "is a fraction of a byte",
    "2g": "write 2Gi",
    "512mb": "write 512Mi",
    "512MB": "write 512Mi",
    "512MiB": "write 512Mi",
    "512 Mi": "write 512Mi",
    "100K": "write 100Ki",
    "100ki": "write 100Ki",
    "1b": "such as 512Mi",
    "": "such as 512Mi",
    "lots": "such as 512Mi",
    "1,5Gi": "such as 512Mi",
    "1Gi\n": "such as 512Mi",
    "٣Mi": "such as 512Mi",
    "1e": "such as 512Mi",
    ".": "such as 512Mi",
    "True": "such as 512Mi",
    "0": "is not above zero",
    "0.0Gi": "is not above zero",
    "-1Gi": "is not above zero",
    "0.5": "not a whole number of bytes",
    "1e-1": "not a whole number of bytes",
    "8Ei": "more memory than any machine can have",
    str(MAX_BYTES + 1): "more memory than any machine can have",
    "1e999999999": "more memory than any machine can have",
    "1e-999999999": "not a whole number of bytes",
    "9" * 100: "is not a memory size",
}

CPUS = {
    "1": 1000,
    "2": 2000,
    "0.5": 500,
    ".25": 250,
    "500m": 500,
    "1m": 1,
    "1500m": 1500,
    "1e1": 10_000,
    "1e-3": 1,
    "1000000u": 1000,
    "8k": 8_000_000,
    "8Ki": 8192 * 1000,
}

BAD_CPUS = {
    "0": "is not above zero",
    "0m": "is not above zero",
    "-1": "is not above zero",
    "0.0001": "finer than a thousandth",
    "1u": "finer than a thousandth",
    "1e-400": "finer than a thousandth",
    "8193": "more than the 8192 cpus",
    "512Mi": "more than the 8192 cpus",
    "1e400": "more than the 8192 cpus",
    "two": "write 2, 0.5 or 500m",
    "1 ": "write 2, 0.5 or 500m",
    "0,5": "write 2, 0.5 or 500m",
    "": "write 2, 0.5 or 500m",
}


@pytest.mark.parametrize(("text", "size"), MEMORY.items())
def test_memory_in_bytes(text: str, size: int) -> None:
    assert memory_bytes(text) == size
    assert re.fullmatch(MEMORY_RE2, text)


@pytest.mark.parametrize(("text", "why"), BAD_MEMORY.items())
def test_what_is_no_memory_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        memory_bytes(text)
    assert why in caught.value.message


@pytest.mark.parametrize(("text", "thousandths"), CPUS.items())
def test_cpus_in_thousandths(text: str, thousandths: int) -> None:
    assert millicpus(text) == thousandths
    assert re.fullmatch(CPU_RE2, text)


@pytest.mark.parametrize(("text", "why"), BAD_CPUS.items())
def test_what_is_no_number_of_cpus_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        millicpus(text)
    assert why in caught.value.message


def test_bare_numbers_of_yaml() -> None:
    assert memory_bytes(6291456) == 6291456
    assert millicpus(2) == 2000
    with pytest.raises(InvalidInput, match="above zero"):
        memory_bytes(0)
    with pytest.raises(InvalidInput, match="above zero"):
        millicpus(-1)


NEAR = st.lists(st.sampled_from([*"0159.+-eEmkKMGi", "Mi", "Gi", "e3", "e-2"]), max_size=6).map("".join)
BEYOND_RE2 = ("whole number of bytes", "more memory than", "finer than", "more than the")


def outcome(parse: Callable[[str], int], text: str) -> tuple[int, str]:
    try:
        return parse(text), ""
    except InvalidInput as e:
        return 0, e.message


@pytest.mark.parametrize(("parse", "expression"), [(memory_bytes, MEMORY_RE2), (millicpus, CPU_RE2)])
@given(text=NEAR)
def test_the_schema_agrees_with_the_parser(parse: Callable[[str], int], expression: str, text: str) -> None:
    amount, why = outcome(parse, text)
    assert (amount > 0) is (why == "")
    assert bool(re.fullmatch(expression, text)) is (why == "" or any(words in why for words in BEYOND_RE2))


@given(st.integers(1, MAX_BYTES // 1024**2))
def test_every_whole_size_is_exact(mebibytes: int) -> None:
    assert memory_bytes(f"{mebibytes}Mi") == mebibytes * 1024**2 == memory_bytes(mebibytes * 1024**2)


@pytest.mark.parametrize("expression", [MEMORY_RE2, CPU_RE2])
def test_the_expressions_can_stand_in_a_cel_string(expression: str) -> None:
    assert not set("\\'\"") & set(expression)
    assert "(?=" not in expression
