"""Folders in place of images → facts and verdict: real libcs, impostors, nearly empty images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli import elf
from stromboli.inspection.facts import image_facts
from stromboli.inspection.opener import ImageConfig
from stromboli.plan.compatibility import CLINeeds, ImageFacts, ImageUser, Libc, judge, version_of
from tests.support.elf import (
    ARM64,
    I386,
    TinyElf,
    glibc_libc,
    glibc_loader,
    glibc_versions,
    musl_loader,
    program,
)
from tests.support.opener import DirectoryOpener, Image

LOADER = "/lib64/ld-linux-x86-64.so.2"
MULTIARCH = "/usr/lib/x86_64-linux-gnu"
NEEDS = CLINeeds(
    architecture="amd64",
    interpreter=LOADER,
    libraries=(
        ("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.17")),
        ("ld-linux-x86-64.so.2", ("GLIBC_2.3",)),
        ("libm.so.6", ("GLIBC_2.2.5",)),
    ),
)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def debian(image: Image, newest: int = 36) -> Image:
    """Debian's layout: merged /usr, the loader in the multiarch folder, with a symlink in /lib64."""
    for name in ("bin", "lib", "lib64"):
        image.link(f"/{name}", f"usr/{name}")
    image.file(f"{MULTIARCH}/ld-linux-x86-64.so.2", glibc_loader(newest))
    image.link("/usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    image.file(f"{MULTIARCH}/libc.so.6", glibc_libc(newest), 0o644)
    image.file(f"{MULTIARCH}/libm.so.6", TinyElf(soname="libm.so.6").build(), 0o644)
    image.file("/usr/bin/dash", program(LOADER)).link("/usr/bin/sh", "dash")
    return image.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)


def musl(image: Image, at: str = "/lib/ld-musl-x86_64.so.1") -> Image:
    image.file("/bin/busybox", program(at)).link("/bin/sh", "/bin/busybox")
    return image.file(at, musl_loader())


async def facts_of(image: Image, needs: CLINeeds = NEEDS, config: ImageConfig | None = None) -> ImageFacts:
    return await image_facts(image.opener, needs, config)


async def message_of(image: Image, needs: CLINeeds = NEEDS) -> str:
    verdict = judge(await facts_of(image, needs), needs)
    assert not verdict.ok
    return verdict.message


async def test_a_debian_image_is_told_whole(image: Image) -> None:
    facts = await facts_of(debian(image))
    assert facts == ImageFacts(
        architecture="amd64",
        libc=Libc.GLIBC,
        libc_version="2.36",
        libc_path=f"{MULTIARCH}/libc.so.6",
        interpreter=f"{MULTIARCH}/ld-linux-x86-64.so.2",
        shell="/usr/bin/dash",
        user=ImageUser(0, 0, "/root"),
    )
    assert judge(facts, NEEDS).ok


async def test_few_files_of_a_usual_image_are_read(image: Image) -> None:
    """Each read takes 150 ms through Podman."""
    await facts_of(debian(image))
    assert image.opener.reads == [
        f"{MULTIARCH}/ld-linux-x86-64.so.2",
        f"{MULTIARCH}/libc.so.6",
        "/etc/passwd",
    ]
    assert len(image.opener.stats) <= 12


@pytest.mark.parametrize("folder", ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/opt/glibc/lib"])
async def test_other_distributions_keep_glibc_elsewhere(image: Image, folder: str) -> None:
    image.file(f"{folder}/libc.so.6", glibc_libc()).file(f"{folder}/libm.so.6")
    image.file(f"{folder}/ld-2.36.so", glibc_loader())
    image.link(LOADER, f"{folder}/ld-2.36.so")
    assert judge(await facts_of(image), NEEDS).ok


async def test_the_promised_floor_is_enough_and_one_below_is_not(image: Image) -> None:
    facts = await facts_of(debian(image, newest=17))
    assert judge(facts, NEEDS).ok
    image.file(f"{MULTIARCH}/libc.so.6", glibc_libc(16))
    assert await message_of(image) == (
        f"glibc 2.16 ({MULTIARCH}/libc.so.6); the Claude CLI needs glibc 2.17 or newer; "
        "use a newer release of the image"
    )


@pytest.mark.parametrize("at", ["/lib/ld-musl-x86_64.so.1", "/usr/lib/ld-musl-x86_64.so.1"])
async def test_musl_is_named_with_its_version(image: Image, at: str) -> None:
    assert await message_of(musl(image, at)) == (
        f"musl 1.2.3 ({at}); the Claude CLI needs glibc 2.17 or newer; use the Debian-based tag"
    )


async def test_a_musl_loader_under_glibcs_name_fools_nobody(image: Image) -> None:
    musl(image).link(LOADER, "/lib/ld-musl-x86_64.so.1")
    image.link("/lib/libc.so.6", "/lib/ld-musl-x86_64.so.1")
    assert (await message_of(image)).startswith("musl 1.2.3 (/lib/ld-musl-x86_64.so.1)")


async def test_gcompat_fools_nobody(image: Image) -> None:
    """Its loader is a small program under glibc's name that runs musl's; it defines no glibc version."""
    gcompat = TinyElf(soname="ld-linux-x86-64.so.2", needed=["libgcompat.so.0"])
    musl(image).file(LOADER, gcompat.build()).link("/lib/libc.so.6", "libgcompat.so.0")
    image.file("/lib/libgcompat.so.0", TinyElf(soname="libgcompat.so.0").build())
    assert (await message_of(image)).startswith("musl 1.2.3")


async def test_musl_in_an_unusual_place_is_told_by_the_shell(image: Image) -> None:
    assert (await message_of(musl(image, "/opt/x/loader"))).startswith("musl 1.2.3 (/opt/x/loader)")


async def test_musl_that_stands_only_under_glibcs_name_is_told(image: Image) -> None:
    assert (await message_of(image.file(LOADER, musl_loader("1.1.24")))).startswith(f"musl 1.1.24 ({LOADER})")


async def test_labels_and_os_release_decide_nothing(image: Image) -> None:
    debian(image).file("/etc/alpine-release", b"3.19.0\n").file("/etc/os-release", b"ID=alpine\n")
    assert judge(await facts_of(image), NEEDS).ok


async def test_glibc_beside_musl_is_fine(image: Image) -> None:
    debian(image).file("/usr/lib/ld-musl-x86_64.so.1", musl_loader())
    assert judge(await facts_of(image), NEEDS).ok


async def test_a_glibc_of_its_own_folder_on_a_musl_image_is_fine(image: Image) -> None:
    image.file("/usr/glibc-compat/lib/ld-linux-x86-64.so.2", glibc_loader())
    image.file("/usr/glibc-compat/lib/libc.so.6", glibc_libc()).file("/usr/glibc-compat/lib/libm.so.6")
    musl(image).link(LOADER, "/usr/glibc-compat/lib/ld-linux-x86-64.so.2")
    assert judge(await facts_of(image), NEEDS).ok


async def test_a_static_image_is_named_by_a_program_of_it(image: Image) -> None:
    image.file("/bin/busybox", program(None))
    assert await message_of(image) == (
        "no C library was found (/bin/busybox is statically linked); the Claude CLI needs glibc 2.17 or "
        "newer; use an image with glibc, such as a Debian-based one"
    )


@pytest.mark.parametrize("config", [ImageConfig(entrypoint=("/app", "serve")), ImageConfig(command=("app",))])
async def test_the_entrypoint_tells_where_nothing_else_does(image: Image, config: ImageConfig) -> None:
    image.file("/app", program(None)).file("/usr/bin/app", program(None))
    facts = await facts_of(image, config=config)
    assert (facts.libc, facts.architecture) == (Libc.STATIC, "amd64")


async def test_an_empty_image_says_that_nothing_was_found(image: Image) -> None:
    assert (await message_of(image)).startswith("no C library and no program that could name one were found;")


async def test_scripts_and_broken_programs_tell_nothing(image: Image) -> None:
    image.file("/bin/sh", b"#!/bin/busybox sh\n").file("/usr/bin/env", b"\x7fELF\x02\x01")
    image.file("/bin/busybox", program("/lib/gone.so.1"))
    assert (await facts_of(image)).libc is Libc.UNKNOWN


@pytest.mark.parametrize("loader", ["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"])
async def test_an_image_for_another_architecture_is_told_apart(image: Image, loader: str) -> None:
    data = musl_loader(machine=ARM64) if "musl" in loader else glibc_loader(machine=ARM64)
    image.file(loader, data).file("/lib/libc.so.6", glibc_libc(machine=ARM64))
    message = await message_of(image)
    assert message.startswith("the image is for arm64 (/lib/")
    assert message.endswith("use the amd64 variant of the image")


async def test_a_library_of_another_architecture_is_passed_over(image: Image) -> None:
    debian(image).file(f"{MULTIARCH}/libc.so.6", TinyElf(I386, defines=glibc_versions(40)).build())
    image.file("/usr/lib64/libc.so.6", glibc_libc(30)).file("/usr/lib64/libm.so.6")
    facts = await facts_of(image)
    assert (facts.libc_path, facts.libc_version) == ("/usr/lib64/libc.so.6", "2.30")


async def test_glibc_away_from_where_the_cli_looks_is_said_so(image: Image) -> None:
    image.file("/bin/sh", program("/nix/store/x/ld-linux-x86-64.so.2"))
    image.file("/nix/store/x/ld-linux-x86-64.so.2", glibc_loader()).file("/nix/store/x/libc.so.6", glibc_libc())
    image.file("/nix/store/x/libm.so.6")
    message = await message_of(image)
    assert message.startswith(f"glibc 2.36 (/nix/store/x/libc.so.6), but its loader is not at {LOADER}")


@pytest.mark.parametrize("libc", [None, b"no elf", TinyElf(soname="libc.so.6").build(), musl_loader()])
async def test_a_loader_without_its_library_is_refused(image: Image, libc: bytes | None) -> None:
    image.file(LOADER, glibc_loader())
    if libc is not None:
        image.file("/lib64/libc.so.6", libc)
    assert await message_of(image) == (
        f"glibc ({LOADER}) without libc.so.6, which the Claude CLI loads; "
        "use an image with the whole of glibc (Debian's libc6), such as a Debian-based one"
    )


async def test_a_loader_that_cannot_be_executed_does_not_count(image: Image) -> None:
    debian(image).file(f"{MULTIARCH}/ld-linux-x86-64.so.2", glibc_loader(), mode=0o644)
    assert not judge(await facts_of(image), NEEDS).ok


async def test_missing_libraries_are_named(image: Image) -> None:
    debian(image)
    (image.root / MULTIARCH.lstrip("/") / "libm.so.6").unlink()
    assert "without libm.so.6, which" in await message_of(image)


async def test_a_version_that_has_no_number_counts_too(image: Image) -> None:
    needs = CLINeeds("amd64", LOADER, (("libc.so.6", ("GLIBC_2.17", "GLIBC_ABI_DT_RELR")),))
    assert "does not offer libc.so.6 GLIBC_ABI_DT_RELR, which" in await message_of(debian(image), needs)


async def test_other_libraries_are_read_for_their_versions(image: Image) -> None:
    needs = CLINeeds("amd64", LOADER, (("libstdc++.so.6", ("GLIBCXX_3.4.30",)),))
    debian(image).file(f"{MULTIARCH}/libstdc++.so.6", TinyElf(defines=["GLIBCXX_3.4.29"]).build())
    assert "libstdc++.so.6 GLIBCXX_3.4.30" in await message_of(image, needs)
    image.file(f"{MULTIARCH}/libstdc++.so.6", TinyElf(defines=["GLIBCXX_3.4.30"]).build())
    assert judge(await facts_of(image, needs), needs).ok


async def test_a_cli_that_is_no_elf_still_needs_glibc(image: Image) -> None:
    assert "musl 1.2.3" in await message_of(musl(image), CLINeeds())


@pytest.mark.parametrize("machine", [62, ARM64])
async def test_a_cli_that_is_no_elf_runs_on_either_architecture(image: Image, machine: int) -> None:
    at = "/lib/ld-linux-aarch64.so.1" if machine == ARM64 else LOADER
    image.file(at, glibc_loader(machine=machine)).file("/lib64/libc.so.6", glibc_libc(machine=machine))
    assert judge(await facts_of(image, CLINeeds()), CLINeeds()).ok


async def test_an_image_without_a_shell_is_fine_and_told(image: Image) -> None:
    (debian(image).root / "usr/bin/sh").unlink()
    facts = await facts_of(image)
    assert judge(facts, NEEDS).ok
    assert not facts.has_shell


@pytest.mark.parametrize("target", ["nowhere", "sh", "/etc", "../../../../plain"])
async def test_a_shell_that_leads_nowhere_is_none(image: Image, target: str) -> None:
    (debian(image).file("/plain", b"text", 0o644).root / "usr/bin/sh").unlink()
    image.link("/usr/bin/sh", target)
    assert not (await facts_of(image)).has_shell


async def test_a_link_out_of_the_image_stays_inside(image: Image, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "sh"
    outside.write_bytes(b"")
    outside.chmod(0o755)
    image.link("/bin/sh", f"../../../../../../../../..{outside}")
    assert not (await facts_of(image)).has_shell


async def test_an_image_with_a_cli_of_its_own_is_told(image: Image) -> None:
    debian(image).file("/opt/tools/claude").file("/usr/bin/claude", mode=0o644).file("/relative/claude")
    assert (await facts_of(image)).claude is None
    facts = await facts_of(image, config=ImageConfig(path="relative:/usr/bin:/opt/tools/"))
    assert facts.claude == "/opt/tools/claude"


async def test_the_images_user_is_resolved(image: Image) -> None:
    debian(image).file("/etc/passwd", b"app:x:1000:1001::/home/app:/bin/sh\n")
    image.file("/etc/group", b"web:x:33:\n")
    assert (await facts_of(image, config=ImageConfig(user="app"))).user == ImageUser(1000, 1001, "/home/app")
    assert (await facts_of(image, config=ImageConfig(user="app:web"))).user == ImageUser(1000, 33, "/home/app")


async def test_a_user_that_the_image_does_not_know_is_refused(image: Image) -> None:
    facts = await facts_of(debian(image), config=ImageConfig(user="app"))
    verdict = judge(facts, NEEDS)
    assert not verdict.ok
    assert "user 'app' is not in its /etc/passwd" in verdict.message


async def test_this_machines_own_root_is_told_right() -> None:
    with Path(sys.executable).resolve().open("rb") as f:
        mine = elf.read(f)
    needs = CLINeeds(mine.architecture, mine.interpreter, (("libc.so.6", ()), ("libm.so.6", ())))
    facts = await image_facts(DirectoryOpener(Path("/")), needs)
    assert judge(facts, needs).ok
    newest = version_of(os.confstr("CS_GNU_LIBC_VERSION").replace("glibc ", "GLIBC_"))  # type: ignore[union-attr]
    assert (2, 17) <= tuple(int(n) for n in facts.libc_version.split(".")) <= newest  # type: ignore[operator]
    assert facts.has_shell


def _replaced(image: Image, make: Callable[[Path], object]) -> Image:
    """Debian's image, with something else at the loader's path."""
    debian(image)
    loader = image.root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    loader.unlink()
    make(loader)
    return image


def _another_program(path: Path) -> None:
    path.write_bytes(program(LOADER))
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is missing, or a dangling symlink"),
        (lambda path: path.symlink_to("nowhere"), "is missing, or a dangling symlink"),
        (lambda path: path.symlink_to("ld-linux-x86-64.so.2"), "is a symlink loop"),
        (lambda path: path.write_text("it was here"), "is a text file"),
        (lambda path: path.write_bytes(bytes(range(256))), "is not a program"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.write_bytes(glibc_loader()), "is not executable"),
        (_another_program, "is not a glibc loader"),
    ],
)
async def test_a_glibc_without_its_loader_is_told_with_what_is_in_its_place(
    image: Image, make: Callable[[Path], object], words: str
) -> None:
    facts = await facts_of(_replaced(image, make))
    assert judge(facts, NEEDS).message == (
        f"glibc 2.36 ({MULTIARCH}/libc.so.6), but its loader {LOADER} {words}; use an image with the whole "
        "of glibc (Debian's libc6), such as a Debian-based one"
    )
