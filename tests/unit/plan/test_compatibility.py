"""Facts and needs → a verdict, with a sentence that a person can act on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stromboli.plan.compatibility import (
    CLINeeds,
    ImageFacts,
    ImageUser,
    Libc,
    judge,
    judge_own_cli,
    text_of,
    version_of,
)

LOADER = "/lib64/ld-linux-x86-64.so.2"
NEEDS = CLINeeds("amd64", LOADER, (("libc.so.6", ("GLIBC_2.17",)),))
GLIBC = ImageFacts(
    architecture="amd64",
    libc=Libc.GLIBC,
    libc_version="2.36",
    libc_path="/lib/libc.so.6",
    interpreter="/lib/ld-linux-x86-64.so.2",
    user=ImageUser(0, 0, "/root"),
)
WANTED = "the Claude CLI needs glibc 2.17 or newer"
MUSL = ImageFacts("amd64", Libc.MUSL, "1.2.3", "/lib/ld-musl-x86_64.so.1")


def test_an_image_with_a_newer_glibc_is_fine_with_or_without_a_shell() -> None:
    verdict = judge(GLIBC, NEEDS)
    assert verdict.ok
    assert verdict.message == "glibc 2.36 (/lib/libc.so.6) for amd64; the Claude CLI needs glibc 2.17 or newer"
    assert judge(replace(GLIBC, shell="/bin/sh"), NEEDS).ok


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            MUSL,
            f"musl 1.2.3 (/lib/ld-musl-x86_64.so.1); {WANTED}; use the Debian-based tag",
        ),
        (
            replace(MUSL, libc_version=""),
            f"musl (/lib/ld-musl-x86_64.so.1); {WANTED}; use the Debian-based tag",
        ),
        (
            replace(MUSL, architecture="arm64"),
            "the image is for arm64 (/lib/ld-musl-x86_64.so.1); the Claude CLI on this machine is for amd64; "
            "use the amd64 variant of the image",
        ),
        (
            ImageFacts("amd64", Libc.STATIC, libc_path="/app"),
            f"no C library was found (/app is statically linked); {WANTED}; "
            "use an image with glibc, such as a Debian-based one",
        ),
        (
            ImageFacts(),
            f"no C library and no program that could name one were found; {WANTED}; "
            "use an image with glibc, such as a Debian-based one",
        ),
        (
            replace(GLIBC, interpreter=None),
            f"glibc 2.36 (/lib/libc.so.6), but its loader is not at {LOADER}, the path that is written in "
            "the Claude CLI; put a link to it there, or use a Debian-based image",
        ),
        (
            replace(GLIBC, libc_version="2.16"),
            f"glibc 2.16 (/lib/libc.so.6); {WANTED}; use a newer release of the image",
        ),
        (
            replace(GLIBC, missing_libraries=("libm.so.6", "librt.so.1")),
            "glibc 2.36 (/lib/libc.so.6) without libm.so.6, librt.so.1, which the Claude CLI loads; "
            "use an image with the whole of glibc (Debian's libc6), such as a Debian-based one",
        ),
        (
            replace(GLIBC, missing_versions=("libc.so.6 GLIBC_ABI_DT_RELR",)),
            "glibc 2.36 (/lib/libc.so.6) does not offer libc.so.6 GLIBC_ABI_DT_RELR, which the Claude "
            "CLI needs; use a newer release of the image",
        ),
        (
            replace(GLIBC, user=None, user_problem="the image's user 'x' is unknown"),
            "the image's user 'x' is unknown",
        ),
    ],
)
def test_refusals_say_what_was_found_and_what_would_be_right(facts: ImageFacts, message: str) -> None:
    verdict = judge(facts, NEEDS)
    assert not verdict.ok
    assert verdict.message == message


@pytest.mark.parametrize(
    ("has", "needs", "ok"),
    [
        ("2.17", (2, 17), True),
        ("2.9", (2, 17), False),  # numbers, not text
        ("2.17", (2, 9), True),
        ("2.100", (2, 17), True),
        ("3.0", (2, 17), True),
        ("2.3.4", (2, 3), True),
        ("2.3", (2, 3, 4), False),
    ],
)
def test_versions_are_compared_as_numbers(has: str, needs: tuple[int, ...], ok: bool) -> None:
    assert judge(replace(GLIBC, libc_version=has), replace(NEEDS, glibc=needs)).ok is ok


def test_a_cli_for_any_architecture_is_not_held_against_one() -> None:
    assert judge(replace(GLIBC, architecture="arm64"), CLINeeds()).ok
    assert not judge(MUSL, CLINeeds()).ok


def test_a_cli_without_an_interpreter_does_not_ask_for_its_place() -> None:
    assert judge(replace(GLIBC, interpreter=None), CLINeeds("amd64")).ok


def test_a_cli_built_for_musl_is_said_to_be_the_problem() -> None:
    verdict = judge(GLIBC, replace(NEEDS, interpreter="/lib/ld-musl-x86_64.so.1"))
    assert not verdict.ok
    assert verdict.message.startswith("the configured CLI is itself built for musl (/lib/ld-musl-x86_64.so.1)")


def test_with_no_cli_mounted_the_image_must_bring_one_whatever_its_libc() -> None:
    assert judge_own_cli(replace(MUSL, claude="/usr/bin/claude", user=ImageUser(0, 0, None))).ok
    verdict = judge_own_cli(GLIBC)
    assert not verdict.ok
    assert "no `claude` on its PATH" in verdict.message
    assert not judge_own_cli(replace(GLIBC, claude="/c", user=None, user_problem="no such user")).ok


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("GLIBC_2.17", (2, 17)),
        ("GLIBC_2.2.5", (2, 2, 5)),
        ("GLIBC_PRIVATE", None),
        ("GLIBC_ABI_DT_RELR", None),
        ("GLIBCXX_3.4", None),
        ("GLIBC_2.17\n", None),
        ("GLIBC_2", None),
        ("GLIBC_2." + "9" * 5000, None),
        ("", None),
    ],
)
def test_symbol_versions(text: str, version: tuple[int, ...] | None) -> None:
    assert version_of(text) == version
    assert version is None or text == f"GLIBC_{text_of(version)}"
