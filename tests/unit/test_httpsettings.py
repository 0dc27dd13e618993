"""The HTTP API's settings: from the environment, from the file that the operator reads, and what stops the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli import environment, httpsettings, settings
from stromboli.errors import InvalidSettings
from stromboli.httpsettings import HttpSettings, RateLimit, Server
from tests.support import stromboli_yaml

Write = Callable[[Any], Path]
IGNORED = "is a setting of Stromboli's own server, which neither operator nor gateway uses; it is ignored"
# section, key, variable, its text there, as YAML in the file, what is read, another text
KEYS: list[tuple[str, str, str, str, Any, Any, str]] = [
    ("server", "address", "STROMBOLI_SERVER_ADDRESS", "127.0.0.1:8080", ":8080", ("", 8080), "[::1]:9090"),
    ("server", "body_limit", "STROMBOLI_SERVER_BODY_LIMIT", "512k", "512k", 512 * 1024, "2M"),
    ("rate_limit", "enabled", "STROMBOLI_RATE_LIMIT_ENABLED", "true", True, True, "false"),
    ("rate_limit", "rate", "STROMBOLI_RATE_LIMIT_RPS", "50", 50, 50, "7"),
    ("rate_limit", "burst", "STROMBOLI_RATE_LIMIT_BURST", "100", 100, 100, "1"),
]
_each_key = pytest.mark.parametrize(("section", "key", "variable", "text", "written", "read", "other"), KEYS)


@pytest.fixture
def config(tmp_path: Path) -> Write:
    def write(content: Any) -> Path:
        path = tmp_path / "stromboli.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def _refused(environ: dict[str, str], path: Path | None = None) -> str:
    with pytest.raises(InvalidSettings) as refusal:
        httpsettings.load(environ, path)
    return str(refusal.value)


def _value(found: HttpSettings, section: str, key: str) -> Any:
    return getattr(getattr(found, section), key)


# --- each key, each way ---


def test_each_key_is_tested() -> None:
    fields = {(section, key) for section, model in httpsettings.SECTIONS.items() for key in model.model_fields}
    assert {(section, key) for section, key, *_ in KEYS} == fields


def test_without_any_the_api_is_off_and_nothing_is_limited() -> None:
    assert httpsettings.load({}) == HttpSettings(Server(), RateLimit())
    assert (Server().address, Server().body_limit) == (None, 4 * 1024 * 1024)
    assert (RateLimit().enabled, RateLimit().rate, RateLimit().burst) == (False, 10, 20), "as in Stromboli's server"


@_each_key
def test_by_environment_by_file_and_the_environment_wins(
    section: str, key: str, variable: str, text: str, written: Any, read: Any, other: str, config: Write
) -> None:
    path = config({section: {key: written}})
    assert _value(httpsettings.load({}, path), section, key) == read
    by_environment = _value(httpsettings.load({variable: other}), section, key)
    assert by_environment != read
    assert _value(httpsettings.load({variable: other}, path), section, key) == by_environment
    assert environment.variable(section, key) == variable


@_each_key
def test_an_empty_text_is_not_set(
    section: str, key: str, variable: str, text: str, written: Any, read: Any, other: str, config: Write
) -> None:
    assert (
        httpsettings.load({variable: ""})
        == httpsettings.load({}, config({section: {key: ""}}))
        == httpsettings.load({})
    )
    assert _value(httpsettings.load({variable: ""}, config({section: {key: written}})), section, key) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (":8080", ("", 8080)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("localhost:1", ("localhost", 1)),
        ("[fd00::7]:8080", ("fd00::7", 8080)),
    ],
)
def test_addresses(text: str, read: tuple[str, int], config: Write) -> None:
    assert httpsettings.load({"STROMBOLI_SERVER_ADDRESS": text}).server.address == read
    assert httpsettings.load({}, config({"server": {"address": text}})).server.address == read


@pytest.mark.parametrize(("text", "read"), [("1024", 1024), ("1K", 1024), ("100kb", 102400), ("4m", 4 * 1024**2)])
def test_sizes(text: str, read: int) -> None:
    assert httpsettings.load({"STROMBOLI_SERVER_BODY_LIMIT": text}).server.body_limit == read


def test_the_rate_by_either_of_its_names() -> None:
    """Stromboli's server reads both; the one that is named as the key wins."""
    rate, rps = {"STROMBOLI_RATE_LIMIT_RATE": "3"}, {"STROMBOLI_RATE_LIMIT_RPS": "5"}
    assert httpsettings.load(rate).rate_limit.rate == 3
    assert httpsettings.load(rps).rate_limit.rate == 5
    assert httpsettings.load({**rate, **rps}).rate_limit.rate == httpsettings.load({**rps, **rate}).rate_limit.rate == 3


def test_who_the_local_user_is() -> None:
    assert httpsettings.load({}).local_kubeconfig is None
    assert httpsettings.load({"STROMBOLI_LOCAL_KUBECONFIG": "/k"}).local_kubeconfig == Path("/k")


# --- what stops the start ---


@pytest.mark.parametrize(
    ("section", "key", "written", "said"),
    [
        ("server", "address", "8080", "server.address: '8080' is neither :PORT nor HOST:PORT, such as :8080"),
        ("server", "address", 8080, "server.address: 8080 is not a string; put it in quotes"),
        ("server", "address", ":x", "server.address: ':x' is neither :PORT nor HOST:PORT, such as :8080"),
        ("server", "address", ":70000", "server.address: ':70000' is neither :PORT nor HOST:PORT"),
        ("server", "body_limit", "1g", "server.body_limit: '1g' is not a size from 1k to 4m; write 2m, for example"),
        ("server", "body_limit", 1, "server.body_limit: 1 is not a size from 1k to 4m"),
        ("server", "body_limit", "5m", "server.body_limit: '5m' is not a size from 1k to 4m"),
        ("server", "body_limit", True, "server.body_limit: True is not a size"),
        ("rate_limit", "enabled", "maybe", "rate_limit.enabled: 'maybe' is neither true nor false; write one of them"),
        ("rate_limit", "enabled", 1, "rate_limit.enabled: 1 is neither true nor false"),
        ("rate_limit", "rate", 0, "rate_limit.rate: 0 is not a number from 1 to 99999"),
        ("rate_limit", "rate", "-5", "rate_limit.rate: '-5' is not a number from 1 to 99999"),
        ("rate_limit", "rate", 1.5, "rate_limit.rate: 1.5 is not a number from 1 to 99999"),
        ("rate_limit", "burst", None, "rate_limit.burst: None is not a number from 1 to 99999"),
        ("rate_limit", "burst", 100000, "rate_limit.burst: 100000 is not a number from 1 to 99999"),
    ],
)
def test_a_value_that_is_malformed(section: str, key: str, written: Any, said: str, config: Write) -> None:
    assert _refused({}, config({section: {key: written}})).startswith(said)
    if isinstance(written, str):
        name = environment.variable(section, key)
        assert _refused({name: written}).startswith(said.replace(f"{section}.{key}", name)), "by the name in use"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("STROMBOLI_RATE_LIMIT_ENABLE", "there is no such key (did you mean enabled?); the keys are enabled, rate,"),
        ("STROMBOLI_RATE_LIMIT_BURSTS", "there is no such key (did you mean burst?)"),
        ("STROMBOLI_SERVER_ADDRES", "there is no such key (did you mean address?); the keys are address, body_limit"),
        ("STROMBOLI_SERVER_ZZZ", "there is no such key; the keys are "),
    ],
)
def test_a_misspelt_key_stops_the_start_also_without_a_value(name: str, said: str, config: Write) -> None:
    """A limit that is not read is none."""
    for value in ("x", ""):
        assert _refused({name: value}).startswith(f"{name}: {said}")
    section = "rate_limit" if "RATE" in name else "server"
    key = name.removeprefix(f"STROMBOLI_{section.upper()}_").lower()
    assert _refused({}, config({section: {key: None}})).startswith(f"{section}.{key}: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("server: x\n", 'server: is not a mapping; write keys below it, such as `address: ":8080"`'),
        ("rate_limit: [1]\n", "rate_limit: is not a mapping; write keys below it, such as `enabled: true`"),
        ("ratelimit: {}\n", "ratelimit: there is no such section; "),
        ("- a\n", "--config: stromboli.yaml is not a mapping"),
    ],
)
def test_a_file_that_is_none(content: str, said: str, config: Write) -> None:
    assert _refused({}, config(content)).startswith(said)


# --- one file for both ---


def test_the_file_of_stromboli_s_own_server_is_read_by_operator_and_gateway(config: Write) -> None:
    """Each takes what is its own, and neither says of the other's that it is ignored."""
    path = config(stromboli_yaml.TEXT)
    of_the_operator, of_the_gateway = settings.load({"HOME": "/h"}, path), httpsettings.load({}, path)
    assert (of_the_operator.cli_image, of_the_operator.cli_image_tag) == (stromboli_yaml.CLI_IMAGE, "latest")
    assert (of_the_operator.auto_pull_cli, of_the_operator.mount_claude_cli) == (True, True)
    assert of_the_operator.allowed_image_patterns == stromboli_yaml.IMAGES
    assert of_the_gateway.server.address == ("", stromboli_yaml.PORT)
    assert of_the_gateway.rate_limit == RateLimit(enabled=True, rate=50, burst=100)
    foreign = stromboli_yaml.SECTIONS
    for found, own in (
        (of_the_operator.warnings, stromboli_yaml.OF_THE_OPERATORS),
        (of_the_gateway.warnings, stromboli_yaml.OF_THE_GATEWAYS),
    ):
        assert found == tuple(f"{name}: {IGNORED}" for name in (*foreign, *own))


def test_what_is_wrong_in_the_others_sections_stops_nothing(config: Write) -> None:
    path = config({"agent": {"cli_img": "x"}, "server": {"address": ":8080"}})
    assert httpsettings.load({}, path).server.address == ("", 8080)
    assert settings.load({}, config({"server": {"addres": "x"}})).warnings == ()
