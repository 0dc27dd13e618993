"""The operator's settings: from the environment and from a file, and what stops the start."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from stromboli import environment, settings
from stromboli.errors import InvalidSettings
from stromboli.settings import DEFAULT_CLI_IMAGE, Settings

Write = Callable[[Any], Path]
PREFIX = "STROMBOLI_AGENT_"
DIGEST = "sha256:" + "a" * 64

# key → (as text in the environment, as YAML in the file, what is read, another text)
KEYS: dict[str, tuple[str, Any, Any, str]] = {
    "allowed_image_patterns": ("python:*, node:*", ["python:*", "node:*"], ("python:*", "node:*"), "golang:*"),
    "allowed_volumes": ("/srv,/data", ["/srv", "/data"], ("/srv", "/data"), "/home"),
    "cli_image": ("ghcr.io/me/cli", "ghcr.io/me/cli", "ghcr.io/me/cli", "ghcr.io/you/cli"),
    "cli_image_tag": ("v2", "v2", "v2", "v3"),
    "auto_pull_cli": ("false", False, False, "true"),
    "mount_claude_cli": ("FALSE", False, False, "1"),
    "image": ("python:3.12", "python:3.12", "python:3.12", "node:22"),
    "credentials_file": ("/etc/claude.json", "/etc/claude.json", Path("/etc/claude.json"), "/etc/other.json"),
}


@pytest.fixture
def config(tmp_path: Path) -> Write:
    """Writes a configuration file: a text as it is, anything else as YAML."""

    def write(content: Any) -> Path:
        path = tmp_path / "stromboli.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def _refused(environ: dict[str, str], path: Path | None = None) -> str:
    with pytest.raises(InvalidSettings) as refusal:
        settings.load(environ, path)
    return str(refusal.value)


def _key(key: str) -> str:
    return PREFIX + key.upper()


# --- each key, each way ---


def test_the_keys_are_those_of_the_contract() -> None:
    assert set(KEYS) == set(Settings.model_fields) & set(KEYS)
    assert len(KEYS) == 8


@pytest.mark.parametrize("key", KEYS)
def test_by_environment(key: str) -> None:
    text, _, read, _ = KEYS[key]
    assert getattr(settings.load({_key(key): text}), key) == read


@pytest.mark.parametrize("key", KEYS)
def test_by_file(key: str, config: Write) -> None:
    _, written, read, _ = KEYS[key]
    assert getattr(settings.load({}, config({"agent": {key: written}})), key) == read


@pytest.mark.parametrize("key", KEYS)
def test_the_environment_wins(key: str, config: Write) -> None:
    _, written, read, other = KEYS[key]
    path = config({"agent": {key: written}})
    by_environment = getattr(settings.load({_key(key): other}), key)
    assert by_environment != read
    assert getattr(settings.load({_key(key): other}, path), key) == by_environment


@pytest.mark.parametrize("key", KEYS)
def test_an_empty_text_is_not_set(key: str, config: Write) -> None:
    default = getattr(settings.load({}), key)
    assert getattr(settings.load({_key(key): ""}), key) == default
    assert getattr(settings.load({}, config({"agent": {key: ""}})), key) == default
    _, written, read, _ = KEYS[key]
    assert getattr(settings.load({_key(key): ""}, config({"agent": {key: written}})), key) == read


def test_the_defaults() -> None:
    found = settings.load({"HOME": "/home/me"})
    assert found.allowed_image_patterns == ()
    assert found.allowed_volumes == ()
    assert (found.cli_image, found.cli_image_tag) == (DEFAULT_CLI_IMAGE, "latest")
    assert DEFAULT_CLI_IMAGE == "ghcr.io/tomblancdev/stromboli-agent"
    assert (found.auto_pull_cli, found.mount_claude_cli) == (True, True)
    assert (found.image, found.credentials_file) == (None, None)
    assert found.system_namespace == "stromboli-system"
    assert found.node == socket.gethostname()
    assert found.warnings == ()


@pytest.mark.parametrize("content", ["", "---\n", "agent:\n", "# nothing\n", "agent: {}\n"])
def test_a_file_that_says_nothing(content: str, config: Write) -> None:
    assert settings.load({}, config(content)) == settings.load({})


@pytest.mark.parametrize(
    ("text", "read"), [("true", True), ("True", True), ("1", True), ("yes", True), ("no", False), ("0", False)]
)
def test_flags(text: str, read: bool, config: Write) -> None:
    assert settings.load({_key("auto_pull_cli"): text}).auto_pull_cli is read
    assert settings.load({}, config({"agent": {"auto_pull_cli": text}})).auto_pull_cli is read


@pytest.mark.parametrize("text", [" a/b ,, c/d ,", "a/b,c/d"])
def test_lists_in_one_text(text: str, config: Write) -> None:
    assert settings.load({_key("allowed_image_patterns"): text}).allowed_image_patterns == ("a/b", "c/d")
    assert settings.load({}, config({"agent": {"allowed_image_patterns": text}})).allowed_image_patterns == (
        "a/b",
        "c/d",
    )


def test_the_home_in_a_path_is_the_operators() -> None:
    """Stromboli's own default is ~/.claude/.credentials.json."""
    environ = {"HOME": "/home/me", _key("credentials_file"): "~/.claude/.credentials.json"}
    assert settings.load(environ).credentials_file == Path("/home/me/.claude/.credentials.json")


@pytest.mark.parametrize(
    "image", ["ghcr.io/me/cli:2.1", f"ghcr.io/me/cli@{DIGEST}", "localhost:5000/cli", "localhost:5000/cli:1"]
)
def test_a_cli_image_may_have_its_tag_or_digest_with_it(image: str) -> None:
    assert settings.load({_key("cli_image"): image}).cli_image == image


# --- what stops the start ---


@pytest.mark.parametrize(
    ("key", "written", "said"),
    [
        ("allowed_image_patterns", ["python:*", "{a,b}"], "agent.allowed_image_patterns[1]: '{a,b}' is not an image"),
        ("allowed_image_patterns", ["python:[0-9"], "agent.allowed_image_patterns[0]: "),
        ("allowed_image_patterns", ["user@x/y"], "agent.allowed_image_patterns[0]: "),
        ("allowed_image_patterns", ["python:[z-a]"], "agent.allowed_image_patterns[0]: "),
        ("allowed_volumes", ["/srv", "data"], "agent.allowed_volumes[1]: 'data' is not an absolute path"),
        ("allowed_volumes", ["/srv/../etc"], "agent.allowed_volumes[0]: '/srv/../etc' is not an absolute path"),
        ("image", "Python", "agent.image: 'Python' is not an image reference"),
        ("image", "docker://python", "agent.image: "),
        ("cli_image", "Claude", "agent.cli_image: "),
        ("cli_image_tag", "not a tag", "agent.cli_image_tag: "),
    ],
)
def test_a_value_that_is_malformed(key: str, written: Any, said: str, config: Write) -> None:
    assert _refused({}, config({"agent": {key: written}})).startswith(said)
    text = written if isinstance(written, str) else ",".join(w for w in written if "," not in w)
    if text and said.split(": ")[0].endswith("[0]"):
        assert _refused({_key(key): text}).startswith(said)


@pytest.mark.parametrize(
    ("key", "written", "said"),
    [
        ("allowed_image_patterns", {"a": 1}, "agent.allowed_image_patterns: must be a list of strings"),
        ("allowed_image_patterns", [1], "agent.allowed_image_patterns: must be a list of strings"),
        ("allowed_image_patterns", None, "agent.allowed_image_patterns: must be a list of strings"),
        ("allowed_image_patterns", True, "agent.allowed_image_patterns: must be a list of strings"),
        (
            "allowed_volumes",
            ["/srv/*"],
            "agent.allowed_volumes[0]: '/srv/*' must be a path, not a pattern; name a folder",
        ),
        ("allowed_volumes", 5, "agent.allowed_volumes: must be a list of strings"),
        ("cli_image", 5, "agent.cli_image: 5 is not a string; put it in quotes"),
        ("cli_image_tag", 2.1, "agent.cli_image_tag: 2.1 is not a string; put it in quotes"),
        ("image", ["python"], "agent.image: ['python'] is not a string"),
        ("credentials_file", False, "agent.credentials_file: False is not a string"),
        ("auto_pull_cli", "maybe", "agent.auto_pull_cli: 'maybe' is neither true nor false"),
        ("mount_claude_cli", 1, "agent.mount_claude_cli: 1 is neither true nor false"),
    ],
)
def test_a_value_of_another_type(key: str, written: Any, said: str, config: Write) -> None:
    assert _refused({}, config({"agent": {key: written}})).startswith(said)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("allowed_image_pattern", "allowed_image_patterns"),
        ("allowed_images_patterns", "allowed_image_patterns"),
        ("allowed_volume", "allowed_volumes"),
        ("cli_img", "cli_image"),
        ("autopull_cli", "auto_pull_cli"),
        ("credential_file", "credentials_file"),
    ],
)
def test_a_misspelt_key_stops_the_start_with_a_suggestion(misspelt: str, meant: str, config: Write) -> None:
    expected = f"agent.{misspelt}: there is no such key (did you mean {meant}?); the keys are allowed_image_patterns,"
    assert _refused({}, config({"agent": {misspelt: "x"}})).startswith(expected)
    assert _refused({_key(misspelt): "x"}).startswith(expected)


def test_a_misspelt_key_stops_the_start_also_without_a_value(config: Write) -> None:
    """An allowlist that is not read allows everything."""
    assert "did you mean allowed_volumes?" in _refused({_key("allowed_volume"): ""})
    assert "did you mean allowed_volumes?" in _refused({}, config({"agent": {"allowed_volume": None}}))


def test_a_key_that_is_like_nothing(config: Write) -> None:
    assert _refused({}, config({"agent": {"zzz": 1}})).startswith("agent.zzz: there is no such key; the keys are ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a\n", "--config: stromboli.yaml is not a mapping; it has to begin with a section, such as `agent:`"),
        ("text", "--config: stromboli.yaml is not a mapping"),
        ("a: [\n", "--config: stromboli.yaml is not YAML: "),
        ("agent: [a]\n", "agent: is not a mapping"),
        ("agent: x\n", "agent: is not a mapping"),
        (
            "agnet: {}\n",
            "agnet: there is no such section; `agent:` is read by the operator, `server:` and `rate_limit:` by the"
            " gateway (did you mean agent?)",
        ),
        ("rate_limits: {}\n", "rate_limits: there is no such section; `agent:` is read by the operator, "),
        ("cli_image: x\n", "cli_image: there is no such section"),
        ("1: x\n", "1: there is no such section"),
    ],
)
def test_a_file_that_is_none(content: str, said: str, config: Write) -> None:
    assert _refused({}, config(content)).startswith(said)


def test_a_file_in_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"agent: \xff\n")
    assert _refused({}, path).startswith("--config: c.yaml is not YAML")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "none.yaml cannot be read (No such file or directory)" in _refused({}, tmp_path / "none.yaml")
    assert f"--config: {tmp_path} cannot be read (Is a directory)" in _refused({}, tmp_path)


# --- what is only a warning ---


@pytest.mark.parametrize("section", ["resources", "auth", "jwt", "jobs", "tracing", "compose", "metrics"])
def test_stromboli_s_other_sections_warn(section: str, config: Write) -> None:
    found = settings.load({}, config({section: {"a": 1}, "agent": {"image": "python"}}))
    assert found.image == "python"
    assert found.warnings == (
        f"{section}: is a setting of Stromboli's own server, which neither operator nor gateway uses; it is ignored",
    )


@pytest.mark.parametrize("key", ["image_tag", "sessions_dir", "workdir_auto_create", "token_cache"])
def test_stromboli_s_other_keys_warn(key: str, config: Write) -> None:
    expected = (
        f"agent.{key}: is a setting of Stromboli's own server, which neither operator nor gateway uses; it is ignored",
    )
    assert settings.load({}, config({"agent": {key: {"enabled": True}}})).warnings == expected
    assert settings.load({_key(key): "x"}).warnings == expected


@pytest.mark.parametrize("section", ["server", "rate_limit"])
def test_what_is_the_gateways_is_no_warning(section: str, config: Write) -> None:
    found = settings.load({}, config({section: {"a": 1}, "agent": {"image": "python"}}))
    assert (found.image, found.warnings) == ("python", ())


def test_each_has_a_warning_of_its_own(config: Write) -> None:
    path = config({"jwt": {}, "auth": {}, "agent": {"image_tag": "x", "sessions_dir": "y"}})
    found = settings.load({_key("workdir_auto_create"): "true"}, path)
    assert [w.split(":")[0] for w in found.warnings] == [
        "auth",
        "jwt",
        "agent.image_tag",
        "agent.sessions_dir",
        "agent.workdir_auto_create",
    ]


def test_variables_of_others_are_no_business_of_ours() -> None:
    assert settings.load({"STROMBOLI_JWT_SECRET": "x", "STROMBOLI_AGEN": "y", "PATH": "/bin"}).warnings == ()


# --- where things are ---


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STROMBOLI_HOME": "/srv/s", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/srv/s"),
        ({"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/stromboli"),
        ({"HOME": "/h", "XDG_DATA_HOME": ""}, "/h/.local/share/stromboli"),
    ],
)
def test_home(environ: dict[str, str], expected: str) -> None:
    assert environment.home(environ) == Path(expected)
    assert settings.load(environ).home == Path(expected)


def test_what_else_the_environment_says() -> None:
    found = settings.load(
        {
            "STROMBOLI_RUNTIME_DIR": "/run/s",
            "STROMBOLI_NODE": "node-7",
            "STROMBOLI_NAMESPACE": "agents",
            "CONTAINER_HOST": "unix:///run/p.sock",
        }
    )
    assert found.runtime_dir == Path("/run/s")
    assert found.node == "node-7"
    assert found.system_namespace == "agents"
    assert found.podman_socket == Path("/run/p.sock")


def test_how_much_the_node_does_at_once() -> None:
    assert settings.load({}).max_starts == 2 * (os.cpu_count() or 1)
    assert settings.load({}).max_runs is None
    found = settings.load({"STROMBOLI_MAX_STARTS": "3", "STROMBOLI_MAX_RUNS": "99999"})
    assert (found.max_starts, found.max_runs) == (3, 99999)
    assert settings.load({"STROMBOLI_MAX_STARTS": ""}) == settings.load({})


@pytest.mark.parametrize("number", ["0", "-1", "100000", "many", "1.5"])
@pytest.mark.parametrize("name", ["STROMBOLI_MAX_STARTS", "STROMBOLI_MAX_RUNS"])
def test_a_number_that_is_none(name: str, number: str) -> None:
    assert _refused({name: number}) == f"{name}: {number!r} is not a number from 1 to 99999"


@pytest.mark.parametrize("address", ["", "127.0.0.1:8443", "[::1]:8443"])
def test_where_the_read_api_listens(address: str) -> None:
    host, port = settings.load({"STROMBOLI_API_ADDRESS": address}).api_address
    assert (host, port) == {"": ("127.0.0.1", 0)}.get(address, ("::1" if "::" in address else "127.0.0.1", 8443))


def test_an_address_that_is_none() -> None:
    said = "STROMBOLI_API_ADDRESS: 'localhost' is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443"
    assert _refused({"STROMBOLI_API_ADDRESS": "localhost"}) == said


def test_the_process_s_own_environment_is_read_only_where_it_is_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROMBOLI_NODE", "another")
    monkeypatch.setenv(_key("image"), "python")
    monkeypatch.setenv(_key("zzz"), "x")
    assert settings.load({}) == settings.load({"HOME": os.environ["HOME"]})
    assert settings.load({}).image is None
    assert Settings(home=Path("/h"), runtime_dir=Path("/r"), podman_socket=Path("/s")).image is None


@pytest.mark.parametrize("name", ["home", "HOME", "STROMBOLI_HOME", "warnings", "Cli_Image"])
def test_what_is_no_key_under_agent_cannot_be_set_there(name: str, config: Write) -> None:
    assert f"agent.{name}: there is no such key" in _refused({}, config({"agent": {name: "/x"}}))
    assert "there is no such key" in _refused({_key("home"): "/x"})


def test_secrets_lie_on_a_tmpfs_of_this_user() -> None:
    assert settings.load({}).runtime_dir == Path(f"/dev/shm/stromboli-{os.getuid()}")


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "ssh://me@there/run/p.sock", "/run/p.sock"])
def test_podman_is_reached_over_a_unix_socket(host: str) -> None:
    message = _refused({"CONTAINER_HOST": host})
    assert message.startswith("CONTAINER_HOST: ")
    assert "write unix:///path/podman.sock" in message


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/podman/podman.sock"),
        (1000, {"XDG_RUNTIME_DIR": "/run/me"}, "/run/me/podman/podman.sock"),
        (1000, {}, "/run/user/1000/podman/podman.sock"),
    ],
)
def test_podmans_usual_socket(
    uid: int, environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert environment.podman_socket(environ) == Path(expected)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.load({}).image = "x"  # type: ignore[misc]
