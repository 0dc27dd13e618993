"""Test images with an operating system, built without a registry and cached for later sessions.

`build(name, environ)` is for benchmarks; tests use one session-scoped fixture per image. Both use the Podman that
`environ` (fixture `podman_env`) selects. The first build on a machine takes seconds per image. After that an image is
loaded from an archive in the XDG cache. The archive's name has a hash of the recipe, of this module and of the modules
used here, so that editing any of them rebuilds the images.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.controlplane import lock
from stromboli.local import debian, images, npm, rootfs
from stromboli.local.images import PodmanCommand
from stromboli.local.rootfs import Root
from stromboli.progress import Progress, Step

APPLETS = (
    "cat",
    "echo",
    "env",
    "false",
    "id",
    "ls",
    "mkdir",
    "pwd",
    "rm",
    "sh",
    "sleep",
    "touch",
    "true",
    "wc",
)
NONROOT_UID = 1000
NUMERIC_UID = 4242

# Answers in the CLI's format, immediately, with shell built-ins only. Its interpreter is the supervisor's busybox,
# which is at that path in every run, so that the script needs nothing from the image.
_INSTANT = f"""\
#!{naming.PLAN}/busybox sh
session=00000000-0000-4000-8000-000000000000 take=
for argument; do
  [ -z "$take" ] || session=$argument
  take=
  case $argument in
    --version) echo "0.0.0 (instant stand-in for Claude Code)"; exit 0 ;;
    --session-id | --resume) take=1 ;;
    --session-id=* | --resume=*) session=${{argument#*=}} ;;
  esac
done
while read -r line || [ -n "$line" ]; do line=; done
printf '{{"type":"system","subtype":"init","session_id":"%s","model":"instant"}}\\n' "$session"
printf '{{"type":"result","subtype":"success","is_error":false,"result":"instant answer",'
printf '"session_id":"%s","num_turns":1,"total_cost_usd":0,"permission_denials":[],' "$session"
printf '"usage":{{"input_tokens":11,"output_tokens":7,'
printf '"cache_creation_input_tokens":3,"cache_read_input_tokens":5}}}}\\n'
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image: its reference, the function that writes its root, and its Containerfile instructions."""

    reference: str
    write: Callable[[Root, Sources], None]
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Provides packages to recipes; downloads are cached."""

    cache: Path
    environ: Mapping[str, str]
    progress: Progress

    def closure(self, *names: str) -> list[Path]:
        """Packages with all their dependencies."""
        return debian.fetch(names, self.cache, self.progress, self.environ)

    def exactly(self, *names: str) -> list[Path]:
        """These packages without their dependencies."""
        return debian.fetch(names, self.cache, self.progress, self.environ, closure=False)


def build(name: str, environ: Mapping[str, str]) -> str:
    """Ensure that an image (a key of RECIPES) is in the Podman of `environ`. Returns its reference."""
    recipe, podman = RECIPES[name], PodmanCommand(environ)
    if podman.exists(recipe.reference):
        return recipe.reference
    with taking_turns(environ):
        saved = _saved(name, recipe, environ)
        if not saved.exists():
            _build_and_save(recipe, podman, saved)
        else:
            podman.run("load", "--quiet", "--input", str(saved))
    return recipe.reference


def archive(name: str, environ: Mapping[str, str]) -> Path:
    """The image as an archive for `podman load`, for a Podman that cannot build it; if necessary it is built first."""
    recipe = RECIPES[name]
    with taking_turns(environ):
        saved = _saved(name, recipe, environ)
        if not saved.exists():
            _build_and_save(recipe, PodmanCommand(environ), saved)
    return saved


@contextmanager
def taking_turns(environ: Mapping[str, str]) -> Iterator[None]:
    """Lock the cache folder: tests run in several processes, each of which would otherwise build the same image."""
    with lock.exclusive(cache_folder(environ) / "lock", "is building a test image", _progress()):
        yield


def _progress() -> Progress:
    """Past pytest's capture: a person sees why the tests wait."""
    return Progress(sys.__stderr__, terminal=False)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """`stromboli-tests` in the user's XDG cache folder."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache"
    return Path(base) / "stromboli-tests"


def _saved(name: str, recipe: Recipe, environ: Mapping[str, str]) -> Path:
    said = hashlib.sha256(repr((recipe.reference, recipe.changes)).encode())
    for module in (__file__, debian.__file__, rootfs.__file__, npm.__file__, images.__file__):
        said.update(Path(module).read_bytes())
    return cache_folder(environ) / "images" / f"{name}-{said.hexdigest()[:16]}.tar"


def _build_and_save(recipe: Recipe, podman: PodmanCommand, saved: Path) -> None:
    saved.parent.mkdir(parents=True, exist_ok=True)
    sources = Sources(cache_folder(podman.environ), podman.environ, _progress())
    podman.build(recipe.reference, lambda root: recipe.write(root, sources), recipe.changes)
    for old in saved.parent.glob(f"{saved.name.rpartition('-')[0]}-*.tar"):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=saved.parent) as folder:
        whole = Path(folder) / "image.tar"
        podman.run("save", "--quiet", "--output", str(whole), recipe.reference)
        whole.replace(saved)


# --- the roots ---


def _users(root: Root) -> None:
    root.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\n")
    root.file("etc/group", b"root:x:0:\nagent:x:1000:\n")
    root.directory("home/agent", owner=NONROOT_UID)


def _glibc(root: Root, sources: Sources) -> None:
    debian.write_base(root, sources.closure(*debian.BASE_PACKAGES))


def _small_glibc(root: Root, sources: Sources) -> None:
    root.merged_usr()
    _users(root)
    root.symlink("usr/bin/sh", "dash")
    root.packages(sources.closure("bash", "coreutils", "dash"), debian.wanted)


def _no_shell(root: Root, sources: Sources) -> None:
    root.merged_usr()
    _users(root)
    root.packages(sources.closure("libc6"), debian.wanted)


def _no_coreutils(root: Root, sources: Sources) -> None:
    root.merged_usr()
    _users(root)
    root.symlink("usr/bin/sh", "dash")
    root.packages([*sources.closure("libc6"), *sources.exactly("dash")], debian.wanted)


def _musl(root: Root, sources: Sources, os_release: str) -> None:
    root.merged_usr()
    _users(root)
    root.file("etc/os-release", os_release.encode())
    for applet in APPLETS:
        root.symlink(f"usr/bin/{applet}", "busybox")
    root.packages(sources.exactly("musl", "busybox-static"), debian.wanted)


def _alpine(root: Root, sources: Sources) -> None:
    root.file("etc/alpine-release", b"3.19.0\n")
    _musl(root, sources, 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.19.0\n')


def _sneaky(root: Root, sources: Sources) -> None:
    _musl(root, sources, 'NAME="Sneaky"\nID=sneaky\n')


def _static(root: Root, sources: Sources) -> None:
    root.packages(sources.exactly("busybox-static"), lambda path: path == "usr/bin/busybox")


def _cli(root: Root, sources: Sources) -> None:
    archive = npm.fetch(sources.cache, sources.progress, sources.environ)
    npm.write_root(root, archive, Step("CLI image"))


def _instant_cli(root: Root, sources: Sources) -> None:
    root.file(npm.CLI, _INSTANT.encode(), mode=0o755)


RECIPES: dict[str, Recipe] = {
    "glibc": Recipe("docker.io/library/python:3.12", _glibc, ('CMD ["python3"]',)),
    "musl": Recipe("docker.io/library/python:3.12-alpine", _alpine, ('CMD ["/bin/sh"]',)),
    "sneaky": Recipe("docker.io/library/sneaky:1.0", _sneaky, ('CMD ["/bin/sh"]',)),
    "static": Recipe("docker.io/library/static:1", _static, ('CMD ["/usr/bin/busybox", "true"]',)),
    "no-shell": Recipe("docker.io/library/no-shell:1", _no_shell),
    "no-coreutils": Recipe("docker.io/library/no-coreutils:1", _no_coreutils, ('CMD ["/bin/sh"]',)),
    "scratchpad": Recipe("docker.io/library/scratchpad-alpine:1", _small_glibc, ('CMD ["/bin/bash"]',)),
    "nonroot": Recipe("docker.io/library/nonroot:1", _small_glibc, ("USER agent",)),
    "numeric-user": Recipe("docker.io/library/numeric-user:1", _small_glibc, (f"USER {NUMERIC_UID}",)),
    "cli": Recipe("localhost/stromboli/agent:real", _cli),
    "instant-cli": Recipe("localhost/stromboli/agent:instant", _instant_cli),
}


# --- one fixture per image; its value is the reference ---


@pytest.fixture(scope="session")
def glibc_image(podman_env: dict[str, str]) -> str:
    """glibc, bash, coreutils and Python, with a Docker Hub reference."""
    return build("glibc", podman_env)


@pytest.fixture(scope="session")
def musl_image(podman_env: dict[str, str]) -> str:
    """musl with Alpine's identifying files."""
    return build("musl", podman_env)


@pytest.fixture(scope="session")
def sneaky_image(podman_env: dict[str, str]) -> str:
    """musl without a trace of Alpine."""
    return build("sneaky", podman_env)


@pytest.fixture(scope="session")
def static_image(podman_env: dict[str, str]) -> str:
    """One static binary and no libc."""
    return build("static", podman_env)


@pytest.fixture(scope="session")
def glibc_no_shell_image(podman_env: dict[str, str]) -> str:
    """glibc without a shell."""
    return build("no-shell", podman_env)


@pytest.fixture(scope="session")
def glibc_no_coreutils_image(podman_env: dict[str, str]) -> str:
    """glibc and a shell, but no `cat`, `mkdir` or `sleep`."""
    return build("no-coreutils", podman_env)


@pytest.fixture(scope="session")
def scratchpad_image(podman_env: dict[str, str]) -> str:
    """glibc with a reference that contains `scratch` and `alpine`."""
    return build("scratchpad", podman_env)


@pytest.fixture(scope="session")
def nonroot_image(podman_env: dict[str, str]) -> str:
    """glibc with a named user of UID 1000."""
    return build("nonroot", podman_env)


@pytest.fixture(scope="session")
def numeric_user_image(podman_env: dict[str, str]) -> str:
    """glibc with a numeric user without a passwd entry."""
    return build("numeric-user", podman_env)


@pytest.fixture(scope="session")
def cli_image(podman_env: dict[str, str]) -> str:
    """The real Claude CLI, from npm."""
    return build("cli", podman_env)


@pytest.fixture(scope="session")
def instant_cli_image(podman_env: dict[str, str]) -> str:
    """A CLI that answers immediately; it needs the supervisor's busybox at its path."""
    return build("instant-cli", podman_env)
