"""Ensures the two images that a run needs, the CLI's and a base image: found, pulled, or built if no registry answers.

For `stromboli up` and the demo, with the `podman` command; the operator itself never builds an image. Images built here
are named `localhost/stromboli/…`, never like the image that they replace.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from stromboli import bounds
from stromboli.controlplane import scratch
from stromboli.errors import LocalFailure
from stromboli.local import debian, npm
from stromboli.local.rootfs import Root
from stromboli.progress import Progress, Step

HUB_PYTHON = "docker.io/library/python:3.12-slim"
BUILT_CLI = "localhost/stromboli/agent"
BUILT_BASE = "localhost/stromboli/python"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_QUOTED = 200  # characters of Podman's output in a message
_ANSWER_SECONDS = 10  # timeout for a registry's first answer
_HINT = "check that Podman works (`podman info`) and that the disk is not full"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is in Podman's storage, and how it got there."""

    reference: str
    how: Literal["present", "pulled", "built"]


@dataclass(frozen=True, slots=True)
class PodmanCommand:
    """The `podman` command in a given environment, which determines the storage that it uses."""

    environ: Mapping[str, str]

    def run(self, *arguments: str, timeout: float | None = None, **more: str) -> str:
        """Its output; `more` are additional environment variables.

        Raises CalledProcessError, and TimeoutExpired after `timeout` seconds.
        """
        environ = {**self.environ, **more}
        done = subprocess.run(
            ["podman", *arguments], env=environ, capture_output=True, text=True, check=True, timeout=timeout
        )
        return done.stdout

    def exists(self, reference: str) -> bool:
        """Whether an image of that name is in the storage. Raises LocalFailure if Podman cannot tell."""
        command = ["podman", "image", "exists", reference]
        done = subprocess.run(command, env=dict(self.environ), capture_output=True, text=True, check=False)
        if done.returncode > 1:  # podman-image-exists(1): 0 is yes, 1 is no
            raise LocalFailure(f"Podman cannot say whether {reference} is there: {done.stderr.strip()}", _HINT)
        return done.returncode == 0

    def tags(self, repository: str) -> list[str]:
        """The repository's tags in the storage, the newest version last."""
        listed = self.run("images", "--filter", f"reference={repository}", "--format", "{{.Repository}}\t{{.Tag}}")
        pairs = (line.split("\t") for line in listed.splitlines())
        return sorted((tag for name, tag in pairs if name == repository), key=npm.newest)

    def build(self, reference: str, write: Callable[[Root], None], changes: Sequence[str] = ()) -> None:
        """Import a root filesystem, which `write` writes to a stream. The name appears only once it is complete.

        `changes` are Containerfile instructions. Raises CalledProcessError with Podman's error output.
        """
        options = [part for change in changes for part in ("--change", change)]
        command = ["podman", "import", "--quiet", *options, "-", reference]
        with tempfile.TemporaryFile() as said:
            importer = subprocess.Popen(
                command,
                env=dict(self.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                bufsize=1024 * 1024,
            )
            with importer:
                _feed(importer, write)
            if importer.returncode:
                said.seek(0)
                raise subprocess.CalledProcessError(importer.returncode, command, stderr=said.read())


def ensure_cli_image(
    environ: Mapping[str, str], configured: str, cache: Path, progress: Progress, version: str | None = None
) -> Image:
    """Ensure the CLI's image: the configured one if present, else one built here, else pull it, else build it from npm.

    `version` selects the version to build. Raises LocalFailure with what to do.
    """
    podman = PodmanCommand(environ)
    if podman.exists(configured):
        return Image(configured, "present")
    built = [tag for tag in podman.tags(BUILT_CLI) if version in (None, tag)]
    if built:
        return Image(f"{BUILT_CLI}:{built[-1]}", "present")
    if _pulled(podman, configured, cache, progress):
        return Image(configured, "pulled")
    return _build_cli(podman, cache, progress, version)


def ensure_base_image(
    environ: Mapping[str, str], cache: Path, progress: Progress, configured: str = HUB_PYTHON
) -> Image:
    """Ensure an image with Python: the configured one if present, else one built here, else pull it, else build it from
    Debian packages.

    Raises LocalFailure with what to do.
    """
    podman = PodmanCommand(environ)
    if podman.exists(configured):
        return Image(configured, "present")
    if built := podman.tags(BUILT_BASE):
        return Image(f"{BUILT_BASE}:{built[-1]}", "present")
    if _pulled(podman, configured, cache, progress):
        return Image(configured, "pulled")
    return _build_base(podman, cache, progress)


def _build_cli(podman: PodmanCommand, cache: Path, progress: Progress, version: str | None) -> Image:
    archive = npm.fetch(cache, progress, podman.environ, version)
    reference = f"{BUILT_CLI}:{npm.version_of(archive)}"
    with progress.step(f"Building {reference}", _HINT) as step:
        podman.build(reference, lambda root: npm.write_root(root, archive, step), _labels(npm.package_name()))
    return Image(reference, "built")


def _build_base(podman: PodmanCommand, cache: Path, progress: Progress) -> Image:
    debs = debian.fetch(debian.BASE_PACKAGES, cache, progress, podman.environ)
    reference = f"{BUILT_BASE}:{debian.python_version(debs)}"
    changes = ['CMD ["python3"]', f"ENV PATH={_PATH}", *_labels("the distribution's packages")]
    with progress.step(f"Building {reference}", _HINT):
        podman.build(reference, lambda root: debian.write_base(root, debs), changes)
    return Image(reference, "built")


def _labels(source: str) -> list[str]:
    return [f'LABEL org.opencontainers.image.description="Built on this machine by Stromboli from {source}"']


def _feed(importer: subprocess.Popen[bytes], write: Callable[[Root], None]) -> None:
    pipe = importer.stdin
    assert pipe is not None
    try:
        with Root(pipe) as root:
            write(root)
        pipe.close()
    except BrokenPipeError:
        _abandon(pipe)  # Podman has already exited; its exit code and output say why
    except BaseException:  # an interrupt, too, must not leave an image of an incomplete root
        importer.kill()  # before the pipe is closed, which Podman would take for the end of a complete root
        _abandon(pipe)
        raise


def _abandon(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the buffer cannot be flushed
        pipe.close()


def _pulled(podman: PodmanCommand, reference: str, cache: Path, progress: Progress) -> bool:
    """Pull it; False if that fails: a line says why, and the caller builds it instead."""
    try:
        manifest = podman.run("manifest", "inspect", reference, timeout=_ANSWER_SECONDS)
        with progress.step(f"Pulling {reference}", hint="") as step:
            _pull(podman, reference, cache, _size(podman, reference, manifest), step)
    except subprocess.TimeoutExpired:
        progress.line(f"  {reference}: no answer within {_ANSWER_SECONDS} s; building an image here instead")
    except subprocess.CalledProcessError as e:
        progress.line(f"  {reference} cannot be pulled ({_last_line(e)}); building an image here instead")
    except LocalFailure as e:
        progress.line(f"  {e}; building an image here instead")
    else:
        return True
    return False


def _pull(podman: PodmanCommand, reference: str, cache: Path, size: int | None, step: Step) -> None:
    # Podman downloads layers into TMPDIR: the size of a TMPDIR of our own is the progress of the pull.
    with scratch.folder(cache) as folder:
        high = 0

        def so_far() -> int:
            nonlocal high
            high = max(high, sum(_bytes(path) for path in folder.rglob("*")))
            return high

        step.measured(so_far, size)
        podman.run("pull", "--quiet", reference, TMPDIR=str(folder))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # Podman has just removed it
        return 0


def _size(podman: PodmanCommand, reference: str, text: str) -> int | None:
    """Size in bytes of the layers for this machine; None if the manifest does not say."""
    try:
        return _layers(podman, reference, text)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):  # a registry may say anything
        return None


def _layers(podman: PodmanCommand, reference: str, text: str) -> int | None:
    manifest = _manifest(text)
    if "manifests" in manifest:
        wanted = {"x64": "amd64", "arm64": "arm64"}[npm.package_name().rpartition("-")[2]]
        digests = [m["digest"] for m in manifest["manifests"] if m.get("platform", {}).get("architecture") == wanted]
        if not digests:
            return None
        name = reference.partition("@")[0]
        name = name if ":" not in name.rpartition("/")[2] else name.rpartition(":")[0]
        manifest = _manifest(podman.run("manifest", "inspect", f"{name}@{digests[0]}", timeout=_ANSWER_SECONDS))
    layers: list[dict[str, Any]] = manifest.get("layers", [])
    return sum(int(layer.get("size", 0)) for layer in layers) or None


def _manifest(text: str) -> Any:
    """Parse a registry's manifest, which `podman manifest inspect` prints unchanged."""
    return bounds.json_document(text, bounds.ANSWER)


def _last_line(error: subprocess.CalledProcessError) -> str:
    lines = str(error.stderr or "").strip().splitlines()
    if not lines:
        return f"podman ended with {error.returncode}"
    last = lines[-1].removeprefix("Error: ")
    return last if len(last) <= _QUOTED else "…" + last[-_QUOTED:].partition(" ")[2]  # the cause comes last
