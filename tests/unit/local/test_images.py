"""Found, pulled or built: the decision, with a podman that is a script of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local import debian, images, npm
from stromboli.local.images import Image, PodmanCommand
from stromboli.local.rootfs import Root
from tests.support.told import Told

# Images are the names in the file $STORE; REGISTRY says how a registry answers.
_PODMAN = """\
#!/bin/sh
echo "$*" >> "$LOG"
case "$1 $2" in
  "image exists") [ -z "$BROKEN" ] || { echo "storage is locked" >&2; exit 125; }
    grep -qxF "$3" "$STORE" ;;
  "images --filter") sed 's/\\(.*\\):/\\1\\t/' "$STORE" ;;
  "manifest inspect")
    case $REGISTRY in
      silent) exec sleep 60 ;;
      answers) echo '{"layers": [{"size": 1000000}, {"size": 2000000}]}' ;;
      *) echo "Error: pinging registry: no such host" >&2; exit 125 ;;
    esac ;;
  "pull --quiet")
    [ -z "$CUT" ] || { echo "Error: connection reset" >&2; exit 125; }
    [ -d "$TMPDIR" ] && echo "$3" >> "$STORE" ;;
  import*) cat > "$STORE.root"; for name; do :; done
    [ -z "$FULL" ] || { echo "no space left on device" >&2; exit 125; }
    echo "$name" >> "$STORE" ;;
  *) exit 99 ;;
esac
"""
_CLI = "registry.example/agent:latest"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/podman").write_text(_PODMAN)
    (tmp_path / "bin/podman").chmod(0o755)
    (tmp_path / "store").touch()
    unset = dict.fromkeys(("REGISTRY", "BROKEN", "CUT", "FULL"), "")
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "LOG": f"{tmp_path}/log", "STORE": f"{tmp_path}/store", **unset}


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """npm gives version 2.1.400, apt a Python 3.11, and their roots are one file."""

    def fetched(*_: object, **__: object) -> Path:
        return tmp_path / "claude-code-linux-x64-2.1.400.tgz"

    def debs(*_: object, **__: object) -> list[Path]:
        return [Path("python3.11-minimal_3.11.2_amd64.deb")]

    def cli_root(root: Root, *_: object) -> None:
        root.file(npm.CLI, b"ELF")

    def base_root(root: Root, *_: object) -> None:
        root.file("usr/bin/python3", b"ELF")

    monkeypatch.setattr(npm, "fetch", fetched)
    monkeypatch.setattr(npm, "write_root", cli_root)
    monkeypatch.setattr(debian, "fetch", debs)
    monkeypatch.setattr(debian, "write_base", base_root)


def store(environ: dict[str, str], *names: str) -> None:
    Path(environ["STORE"]).write_text("".join(f"{name}\n" for name in names))


def cli(environ: dict[str, str], told: Told | None = None, version: str | None = None) -> Image:
    return images.ensure_cli_image(environ, _CLI, Path(environ["STORE"]).parent / "cache", told or Told(), version)


def base(environ: dict[str, str], told: Told | None = None) -> Image:
    return images.ensure_base_image(environ, Path(environ["STORE"]).parent / "cache", told or Told())


def test_the_configured_images_are_taken_if_they_are_there(environ: dict[str, str]) -> None:
    store(environ, _CLI, images.HUB_PYTHON, "localhost/stromboli/agent:2.1.1")
    assert cli(environ) == Image(_CLI, "present")
    assert base(environ) == Image(images.HUB_PYTHON, "present")
    assert "manifest" not in Path(environ["LOG"]).read_text()


def test_else_the_newest_that_was_built_here_without_asking_a_registry(environ: dict[str, str]) -> None:
    names = ["localhost/stromboli/agent:2.1.9", "localhost/stromboli/agent:2.1.10", "localhost/stromboli/python:3.11"]
    store(environ, *names)
    assert cli(environ) == Image("localhost/stromboli/agent:2.1.10", "present")
    assert cli(environ, version="2.1.9") == Image("localhost/stromboli/agent:2.1.9", "present")
    assert base(environ) == Image("localhost/stromboli/python:3.11", "present")
    assert "manifest" not in Path(environ["LOG"]).read_text()


def test_images_of_like_names_are_not_taken_for_ours(environ: dict[str, str]) -> None:
    store(environ, "docker.io/localhost/stromboli/agent:9.9.9", "localhost/stromboli/agent-x:9.9.9")
    assert cli(environ).how == "built"


def test_else_they_are_pulled_with_their_size_told(environ: dict[str, str]) -> None:
    told = Told()
    environ["REGISTRY"] = "answers"
    assert cli(environ, told) == Image(_CLI, "pulled")
    assert base(environ) == Image(images.HUB_PYTHON, "pulled")
    assert f"✓ Pulling {_CLI}: 0.0 of 3.0 MB" in told.stream.getvalue()


def test_where_no_registry_answers_they_are_built_under_honest_names(environ: dict[str, str]) -> None:
    told = Told()
    assert cli(environ, told) == Image("localhost/stromboli/agent:2.1.400", "built")
    assert base(environ, told) == Image("localhost/stromboli/python:3.11", "built")
    assert (
        f"{_CLI} cannot be pulled (pinging registry: no such host); building an image here instead"
        in told.stream.getvalue()
    )
    assert images.HUB_PYTHON not in Path(environ["STORE"]).read_text()
    assert cli(environ).how == base(environ).how == "present"


def test_a_registry_that_keeps_silent_is_not_waited_for(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_ANSWER_SECONDS", 0.2)
    told = Told()
    assert cli({**environ, "REGISTRY": "silent"}, told).how == "built"
    assert "no answer within 0.2 s; building an image here instead" in told.stream.getvalue()


def test_a_pull_that_breaks_off_is_said_and_built_instead(environ: dict[str, str]) -> None:
    told = Told()
    assert cli({**environ, "REGISTRY": "answers", "CUT": "yes"}, told).how == "built"
    assert "connection reset; building an image here instead" in told.stream.getvalue()


def test_a_podman_that_cannot_tell_is_not_taken_for_absent(environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="storage is locked"):
        cli({**environ, "BROKEN": "yes"})


def test_a_full_disk_is_said_and_names_nothing(environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="no space left on device") as failure:
        base({**environ, "FULL": "yes"})
    assert "disk is not full" in failure.value.hint
    assert Path(environ["STORE"]).read_text() == ""


def test_a_root_that_breaks_off_is_not_imported(environ: dict[str, str]) -> None:
    def half(root: Root) -> None:
        root.file("bin/first", b"x" * 2_000_000)
        raise OSError(5, "the source broke")

    with pytest.raises(OSError, match="the source broke"):
        PodmanCommand(environ).build("localhost/stromboli/x:1", half)
    assert Path(environ["STORE"]).read_text() == ""


def test_the_size_of_an_index_is_that_of_this_machine_s_manifest(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    arch = {"x64": "amd64", "arm64": "arm64"}[npm.package_name().rpartition("-")[2]]

    def run(self: PodmanCommand, *arguments: str, **_: object) -> str:
        asked.append(arguments)
        if arguments[0] == "images":
            return ""
        if "@" in arguments[-1]:
            return '{"layers": [{"size": 7}]}'
        wrong = '{"digest": "sha256:other", "platform": {"architecture": "s390x"}}'
        return f'{{"manifests": [{wrong}, {{"digest": "sha256:ours", "platform": {{"architecture": "{arch}"}}}}]}}'

    monkeypatch.setattr(PodmanCommand, "run", run)
    image = images.ensure_base_image(environ, Path(environ["STORE"]).parent, Told(), "registry.example:5000/a/b:1")
    assert image.how == "pulled"
    assert ("manifest", "inspect", "registry.example:5000/a/b@sha256:ours") in asked


@pytest.mark.parametrize(
    "manifest",
    [
        "no JSON",
        "[]",
        "null",
        '{"manifests": 1}',
        '{"manifests": ["x"]}',
        '{"layers": {"size": 1}}',
        '{"layers": [{"size": {}}]}',
        '{"layers": [{"size": Infinity}]}',
    ],
)
def test_an_image_whose_manifest_has_another_shape_is_pulled_all_the_same(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, manifest: str
) -> None:
    monkeypatch.setattr(PodmanCommand, "run", lambda self, *args, **_: "" if args[0] == "images" else manifest)
    image = images.ensure_base_image(environ, Path(environ["STORE"]).parent, Told(), "registry.example:5000/a/b:1")
    assert image.how == "pulled"
