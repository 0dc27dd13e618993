"""Images built without a registry from real packages, on a real Podman, and the contents of the tests' own images.

Also the proof that they work together: the real CLI, in a base image built here, answers through the stand-in.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stromboli.local import images, npm
from stromboli.local.images import Image, PodmanCommand
from stromboli.progress import Progress
from stromboli.standin.server import Log, Standin
from tests.support.images import NUMERIC_UID, RECIPES, build, cache_folder, taking_turns

_LIMIT = 60.0  # seconds for one container run
_NOWHERE = "127.0.0.1:1/nobody/listens:1"


def told() -> Progress:
    return Progress(io.StringIO(), terminal=False)


def run(environ: dict[str, str], image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """The output of a command in a new container without a network."""
    return PodmanCommand(environ).run("run", "--rm", "--network", "none", *options, image, *command, timeout=_LIMIT)


# --- built here ---


@pytest.fixture(scope="module")
def base_image(podman_env: dict[str, str]) -> Image:
    with taking_turns(os.environ):
        return images.ensure_base_image(podman_env, cache_folder(os.environ), told(), _NOWHERE)


def test_a_base_image_is_built_where_no_registry_answers(podman_env: dict[str, str], base_image: Image) -> None:
    assert base_image.reference.startswith("localhost/stromboli/python:3.")
    assert images.ensure_base_image(podman_env, cache_folder(os.environ), told(), _NOWHERE).how == "present"


def test_its_python_works_with_certificates_and_pip(podman_env: dict[str, str], base_image: Image) -> None:
    program = "import ssl, sqlite3, lzma, ctypes; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(run(podman_env, base_image.reference, "python3", "-c", program)) > 100
    assert run(podman_env, base_image.reference, "python", "-m", "pip", "--version").startswith("pip ")


def test_its_python_is_the_one_in_its_tag(podman_env: dict[str, str], base_image: Image) -> None:
    version = run(podman_env, base_image.reference, "python3", "--version")
    assert version.startswith(f"Python {base_image.reference.rpartition(':')[2]}.")


def test_its_shell_users_and_temporary_folder_are_there(podman_env: dict[str, str], base_image: Image) -> None:
    script = "id -un; getent passwd agent | cut -d: -f6; stat -c %a /tmp; echo x | awk '{print $1}'"
    assert run(podman_env, base_image.reference, "sh", "-c", script).split() == ["root", "/home/agent", "1777", "x"]


# --- pulled ---


class _Registry(BaseHTTPRequestHandler):
    """A registry with one image that has one file."""

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as _tar:
        _tar.addfile(tarfile.TarInfo("hello"))
    blob = gzip.compress(layer.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": {"x64": "amd64", "arm64": "arm64"}[npm.package_name().rpartition("-")[2]],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
        }
    ).encode()
    _KIND = "application/vnd.docker"

    def do_GET(self) -> None:
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{self._KIND}.distribution.manifest.v2+json",
                "config": self._described("container.image.v1+json", self.config),
                "layers": [self._described("image.rootfs.diff.tar.gzip", self.blob)],
            }
        ).encode()
        blobs = {f"sha256:{hashlib.sha256(b).hexdigest()}": b for b in (self.blob, self.config)}
        what = self.path.rsplit("/", 1)[-1]
        if self.path == "/v2/":
            self._answer(b"{}", "application/json")
        elif "/manifests/" in self.path:
            self._answer(manifest, f"{self._KIND}.distribution.manifest.v2+json")
        elif what in blobs:
            self._answer(blobs[what], "application/octet-stream")
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the access log."""

    def _described(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"mediaType": f"{self._KIND}.{kind}", "size": len(content), "digest": digest}

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_image_is_pulled_where_a_registry_answers(podman_env: dict[str, str], registry: str, tmp_path: Path) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    environ = {**podman_env, "CONTAINERS_REGISTRIES_CONF": str(conf)}
    configured = f"{registry}/some/agent:1"
    said = io.StringIO()
    # A version that no other test builds.
    found = images.ensure_cli_image(environ, configured, tmp_path, Progress(said, terminal=False), "0.0.0")
    assert found.how == "pulled"
    assert PodmanCommand(environ).exists(configured)
    assert f"✓ Pulling {configured}" in said.getvalue()
    assert list(tmp_path.iterdir()) == [conf]


# --- the tests' own images ---


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "cli"])
def test_every_recipe_gives_its_image_twice_the_same(podman_env: dict[str, str], name: str) -> None:
    assert build(name, podman_env) == RECIPES[name].reference
    first = PodmanCommand(podman_env).run("image", "inspect", "--format", "{{.Id}}", RECIPES[name].reference)
    build(name, podman_env)
    second = PodmanCommand(podman_env).run("image", "inspect", "--format", "{{.Id}}", RECIPES[name].reference)
    assert first == second


def test_musl_images_have_musl_s_loader_and_only_one_says_alpine(
    podman_env: dict[str, str], musl_image: str, sneaky_image: str
) -> None:
    script = "ls /lib/ld-musl-*.so.1 >/dev/null; cat /etc/os-release; [ -e /etc/alpine-release ] && echo marked; true"
    assert "marked" in run(podman_env, musl_image, "sh", "-c", script)
    said = run(podman_env, sneaky_image, "sh", "-c", script).lower()
    assert "sneaky" in said
    assert "alpine" not in said
    assert "marked" not in said


def test_users_are_what_their_images_say(
    podman_env: dict[str, str], nonroot_image: str, numeric_user_image: str
) -> None:
    assert run(podman_env, nonroot_image, "id", "-un").strip() == "agent"
    assert run(podman_env, numeric_user_image, "id", "-u").strip() == str(NUMERIC_UID)


def test_no_coreutils_means_none(podman_env: dict[str, str], glibc_no_coreutils_image: str) -> None:
    script = "for tool in cat mkdir sleep env ls; do command -v $tool; done; echo only the shell"
    assert run(podman_env, glibc_no_coreutils_image, "sh", "-c", script).strip() == "only the shell"


def test_no_shell_and_static_run_no_script(
    podman_env: dict[str, str], glibc_no_shell_image: str, static_image: str
) -> None:
    for image in (glibc_no_shell_image, static_image):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run(podman_env, image, "/bin/sh", "-c", "true")
        assert refused.value.returncode == 127


# --- all together ---


@asynccontextmanager
async def standing_in(folder: Path) -> AsyncIterator[Path]:
    """Run the stand-in on `folder`/socket/api.sock. Yields its log file."""
    (folder / "socket").mkdir()
    log = Log(folder / "log.jsonl")
    runner = web.AppRunner(Standin(log).application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "socket/api.sock")).start()
    yield folder / "log.jsonl"
    await runner.cleanup()
    log.close()


async def ask(
    environ: dict[str, str], image: str, cli: str, folder: Path, prompt: str, *options: str
) -> dict[str, Any]:
    """The result event of one prompt to the real CLI, in a container of the image without a network."""
    variables = {
        "ANTHROPIC_UNIX_SOCKET": "/standin/api.sock",
        # The host has no meaning with a Unix socket, but without http:// the CLI would use TLS.
        "ANTHROPIC_BASE_URL": "http://standin",
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "HOME": "/tmp",
    }
    mounts = ["--volume", f"{folder}/socket:/standin:ro", "--volume", f"{cli}:/opt/claude:ro"]
    env = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    claude = ["/opt/claude/bin/claude", "-p", "--output-format", "stream-json", "--verbose", *options]
    process = await asyncio.create_subprocess_exec(
        *["podman", "run", "--rm", "--interactive", "--network", "none", *mounts, *env, image, *claude],
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(prompt.encode()), _LIMIT)
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


@pytest.fixture
def mounted_cli(podman_env: dict[str, str], cli_image: str) -> Iterator[str]:
    podman = PodmanCommand(podman_env)
    yield podman.run("image", "mount", cli_image).strip()
    podman.run("image", "unmount", cli_image)


async def test_the_real_cli_answers_through_the_stand_in(
    podman_env: dict[str, str], base_image: Image, mounted_cli: str, tmp_path: Path
) -> None:
    async with standing_in(tmp_path) as log:
        result = await ask(podman_env, base_image.reference, mounted_cli, tmp_path, "What is an operator?")
    assert (result["type"], result["is_error"], result["num_turns"]) == ("result", False, 1)
    assert "offline stand-in" in result["result"]
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (11, 7)
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert line["user_texts"] == ["What is an operator?"]


async def test_the_real_cli_gets_its_structured_output(
    podman_env: dict[str, str], base_image: Image, mounted_cli: str, tmp_path: Path
) -> None:
    schema = {"type": "object", "properties": {"height": {"type": "integer"}}, "required": ["height"]}
    option = f"--json-schema={json.dumps(schema)}"
    async with standing_in(tmp_path):
        made_up = await ask(podman_env, base_image.reference, mounted_cli, tmp_path, "How high?", option)
        given = await ask(podman_env, base_image.reference, mounted_cli, tmp_path, 'JSON{"height": 924}', option)
    assert made_up["structured_output"] == {"height": 0}
    assert given["structured_output"] == {"height": 924}


async def test_the_real_cli_reports_errors_and_limits(
    podman_env: dict[str, str], base_image: Image, mounted_cli: str, tmp_path: Path
) -> None:
    where = (podman_env, base_image.reference, mounted_cli, tmp_path)
    async with standing_in(tmp_path):
        refused = await ask(*where, "STATUS{401}")
        endless = await ask(*where, "LOOP{true}", "--max-turns=1", "--allowedTools=Bash")
        costly = await ask(*where, "LOOP{true}", "--max-budget-usd=0.0001", "--allowedTools=Bash")
    assert (refused["subtype"], refused["is_error"], refused["api_error_status"]) == ("success", True, 401)
    assert (endless["subtype"], endless["is_error"]) == ("error_max_turns", True)
    assert (costly["subtype"], costly["is_error"]) == ("error_max_budget_usd", True)
