"""compose/forms: the short forms, what they mean and what is refused; nothing but InvalidInput is ever raised."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli import visible
from stromboli.compose.forms import duration, extra_host, link, path, port, size, tmpfs, volume, words
from stromboli.compose.forms.port import Port
from stromboli.compose.forms.tmpfs import Tmpfs
from stromboli.compose.forms.volume import Volume
from stromboli.errors import InvalidInput

VOLUMES = {
    "/data": Volume("volume", None, "/data"),
    "/x": Volume("volume", None, "/x"),
    ".:/w": Volume("bind", ".", "/w"),
    "..:/w": Volume("bind", "..", "/w"),
    ".hidden:/w": Volume("bind", ".hidden", "/w"),
    "./a:/b:ro": Volume("bind", "./a", "/b", read_only=True),
    "/a:/b:ro,rw": Volume("bind", "/a", "/b"),
    "/a:/b:Z,ro": Volume("bind", "/a", "/b", read_only=True),
    "~/a:/b": Volume("bind", "~/a", "/b"),
    "./a:/b:nocopy": Volume("bind", "./a", "/b"),
    "data:/d": Volume("volume", "data", "/d"),
    "d.a_t-A1:/d:nocopy,ro": Volume("volume", "d.a_t-A1", "/d", True, True),
    "data:/d:cached": Volume("volume", "data", "/d"),
    "data:/d/../e//f/.": Volume("volume", "data", "/e/f"),
    "data://d": Volume("volume", "data", "/d"),
    "data:/": Volume("volume", "data", "/"),
    "data:/d:z": Volume("volume", "data", "/d"),
}

BAD_VOLUMES = {
    "": "has an empty part",
    ":": "has an empty part",
    ":/w": "has an empty part",
    "a-b:": "has an empty part",
    "./a:/b:": "has an empty part",
    "./a::/b": "has an empty part",
    "./a:/b:ro:": "has an empty part",
    "./a:/b:ro:rw": "too many colons",
    "data": "is not an absolute path of the container",
    "./data": "is not an absolute path of the container",
    "data:d": "is not an absolute path of the container",
    "a/b:/x": "neither a path of the node, which begins with ./, ../ or /, nor a volume's name",
    "a b:/x": "neither a path",
    "$HOME:/x": "neither a path",
    "n:/x": '"n:/x" is a path of Windows to Compose; the name of a volume has more than one letter',
    "n:/x:ro": '"n:/x" is a path of Windows to Compose',
    "C:/etc:/e": '"C:/etc" is a path of Windows',
    "c:\\x:/e:ro": "is a path of Windows",
    "\\\\server\\x:/e": "is a path of Windows",
    "data:c:/x": "is a path of Windows",
    "é:/x": "is a path of Windows",
    "./a:/b:rshared": 'the option "rshared" is not supported',
    "./a:/b:O,upperdir=/etc": 'the option "O" is not supported',
    "./a:/b:ro,U": 'the option "U" is not supported',
    "./a:/b:RO": 'the option "RO" is not supported',
    "./a:/b:ro,": 'the option "" is not supported',
    "./a:/b: ro": 'the option " ro" is not supported',
}


@pytest.mark.parametrize(("text", "expected"), VOLUMES.items())
def test_volume(text: str, expected: Volume) -> None:
    assert volume.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_VOLUMES.items())
def test_bad_volume(text: str, message: str) -> None:
    _refused(volume.parse, text, message)


PORTS = {
    "3000": [Port(3000)],
    "08": [Port(8)],
    "3000/udp": [Port(3000, protocol="udp")],
    "3000/SCTP": [Port(3000, protocol="sctp")],
    "3000-3002": [Port(3000), Port(3001), Port(3002)],
    "8080:80": [Port(80, "8080")],
    "0:80": [Port(80)],
    ":80": [Port(80)],
    "::80": [Port(80)],
    "2222:22": [Port(22, "2222")],
    "8000-9000:80": [Port(80, "8000-9000")],
    "1-60000:80": [Port(80, "1-60000")],
    "6000-6001:7000-7001/udp": [Port(7000, "6000", protocol="udp"), Port(7001, "6001", protocol="udp")],
    "127.0.0.1:5001:5000": [Port(5000, "5001", "127.0.0.1")],
    "127.0.0.1::5000": [Port(5000, None, "127.0.0.1")],
    "127.0.0.1:5000-5001:80-81": [Port(80, "5000", "127.0.0.1"), Port(81, "5001", "127.0.0.1")],
    "[::1]:6379:6379": [Port(6379, "6379", "::1")],
    "[::1]::80": [Port(80, None, "::1")],
    "[2001:DB8:0::1]:1:2": [Port(2, "1", "2001:db8::1")],
    "65535": [Port(65535)],
}

BAD_PORTS = {
    "": "is not a port",
    "abc": "is not a port",
    "8080:": "is not a port",
    "80 ": "is not a port",
    "-80": "is not a port",
    "80-": "is not a port",
    "1-2-3": "is not a port",
    "+80": "is not a port",
    "٣": "is not a port",
    "1.5": "is not a port",
    "x:80": "is not a port",
    "100000": "is not a port",
    "0": "port 0 of the container",
    "80:0": "port 0 of the container",
    "65536": "above 65535",
    "70000:80": "above 65535",
    "81-80": "ends before it begins",
    "8000-8001:80-82": "two ranges of different length",
    "8000:80-82": "two ranges of different length",
    "1-60000:1-60000": "is a range of 60000 ports; at most 2000",
    "80/": "write tcp, udp or sctp",
    "80/http": "write tcp, udp or sctp",
    "80/tcp/udp": "write tcp, udp or sctp",
    "localhost:80:80": "does not begin with an IP address",
    "::1:80:80": "does not begin with an IP address",
    "[127.0.0.1]:80:80": "does not begin with an IP address",
    "[::1:80:80": "does not begin with an IP address",
    "[fe80::1%eth0]:80:80": "does not begin with an IP address",
    "127.1:80:80": "does not begin with an IP address",
    "[]:80:80": "does not begin with an IP address",
}


@pytest.mark.parametrize(("text", "expected"), PORTS.items())
def test_port(text: str, expected: list[Port]) -> None:
    assert list(port.parse(text)) == expected


@pytest.mark.parametrize(("text", "message"), BAD_PORTS.items())
def test_bad_port(text: str, message: str) -> None:
    _refused(port.parse, text, message)


def test_exposed_port() -> None:
    assert port.exposed("3000-3001/udp") == (Port(3000, protocol="udp"), Port(3001, protocol="udp"))
    assert port.exposed("80") == (Port(80),)
    _refused(port.exposed, "8080:80", "is not a port")


EXTRA_HOSTS = {
    "api.test:203.0.113.7": ("api.test", ("203.0.113.7",)),
    "api.test=203.0.113.7": ("api.test", ("203.0.113.7",)),
    "v6.test=[2001:db8::1]": ("v6.test", ("2001:db8::1",)),
    "v6.test:2001:db8::1": ("v6.test", ("2001:db8::1",)),
    "v6.test=::1": ("v6.test", ("::1",)),
    "a=1.2.3.4,[::1]": ("a", ("1.2.3.4", "::1")),
    "host.docker.internal:host-gateway": ("host.docker.internal", ("host-gateway",)),
    "my_host=1.2.3.4": ("my_host", ("1.2.3.4",)),
}

BAD_EXTRA_HOSTS = {
    f"a={','.join(['1.2.3.4'] * 101)}": "has more than 100 addresses",
    "": "has no address",
    "name": "has no address",
    "=1.2.3.4": "is not the name of a host",
    "a b=1.2.3.4": "is not the name of a host",
    "a:b=1.2.3.4": "is not the name of a host",
    "-a=1.2.3.4": "is not the name of a host",
    "a\n=1.2.3.4": "is not the name of a host",
    "a=": "is not an IP address",
    "a=nope": "is not an IP address",
    "a=1.2.3.4\n5.6.7.8 b": '"1.2.3.4\\n5.6.7.8 b" is not an IP address',
    "a=1.2.3.4 b": "is not an IP address",
    "a=1.2.3.4,": "is not an IP address",
    "a=fe80::1%eth0": "is not an IP address",
    "a=fe80::1%\n1.2.3.4 b": "is not an IP address",
    "a=[::1": "is not an IP address",
    "a=010.1.1.1": "is not an IP address",
}


@pytest.mark.parametrize(("text", "expected"), EXTRA_HOSTS.items())
def test_extra_host(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert extra_host.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_EXTRA_HOSTS.items())
def test_bad_extra_host(text: str, message: str) -> None:
    _refused(extra_host.parse, text, message)


def test_as_many_addresses_as_there_may_be() -> None:
    assert extra_host.parse(f"a={','.join(['1.2.3.4'] * 100)}") == ("a", ("1.2.3.4",) * 100)


def test_link() -> None:
    assert link.parse("db") == ("db", None)
    assert link.parse("db:database") == ("db", "database")
    for bad in ("", ":", "db:", ":x", "a:b:c"):
        _refused(link.parse, bad, "write SERVICE or SERVICE:ALIAS")


WORDS = {
    "": (),
    " \t\n": (),
    "a": ("a",),
    "  a  b\tc\nd ": ("a", "b", "c", "d"),
    "echo 'a b' \"c d\"": ("echo", "a b", "c d"),
    "a'b'\"c\"d": ("abcd",),
    "''": ("",),
    'a ""': ("a", ""),
    "a\\ b": ("a b",),
    "a \\'b": ("a", "'b"),
    "'a\\b'": ("a\\b",),
    '"a\\"b"': ('a"b',),
    '"a\\nb"': ("anb",),
    '"it\'s"': ("it's",),
    "echo $HOME *.py ~": ("echo", "$HOME", "*.py", "~"),
    "echo $(date -u)": ("echo", "$(date -u)"),
    "echo `date -u`": ("echo", "`date -u`"),
    "echo \"$(date)\" '(x)'": ("echo", "$(date)", "(x)"),
    "echo 'a && b | c; d > e'": ("echo", "a && b | c; d > e"),
    'sh -c "a && b"': ("sh", "-c", "a && b"),
    "echo a\\&b \\; \\>": ("echo", "a&b", ";", ">"),
    "postgres -c max_connections=50 # x": ("postgres", "-c", "max_connections=50", "#", "x"),
    "echo $(a | b)": ("echo", "$(a | b)"),
    "redis-server --save 60 1": ("redis-server", "--save", "60", "1"),
}

BAD_WORDS = {
    "a" * 65537: "is longer than 65536 characters",
    "a && b": "has an unquoted &&, where Compose drops the rest of the command",
    "a&": "has an unquoted &,",
    "a || b": "has an unquoted ||,",
    "a|b": "has an unquoted |,",
    "a; b": "has an unquoted ;,",
    "a >b": "has an unquoted >,",
    "a >> b": "has an unquoted >>,",
    "a 2>&1": "has an unquoted >,",
    "a <b": "has an unquoted <,",
    "echo 'open": "has a ' without its end",
    'echo "open': 'has a " without its end',
    "echo `open": "has a ` without its end",
    "echo $(open": "has a $( without its end",
    "echo \\": "ends with a backslash",
    "echo (a)": "has an unquoted parenthesis",
    "echo a)": "has an unquoted parenthesis",
    "echo `a 'b'`": "has a ' within `",
    "echo $(a (b))": "has a ( within $(",
}


@pytest.mark.parametrize(("text", "expected"), WORDS.items())
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert words.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_WORDS.items())
def test_bad_words(text: str, message: str) -> None:
    _refused(words.parse, text, message)


def test_a_command_as_long_as_it_may_be() -> None:
    assert words.parse("a" * 65536) == ("a" * 65536,)


SIZES = {
    "0": 0,
    "1024": 1024,
    "512m": 512 * 2**20,
    "512M": 512 * 2**20,
    "512MiB": 512 * 2**20,
    "512mb": 512 * 2**20,
    "2.5gb": 5 * 2**29,
    "64 k": 65536,
    "10b": 10,
    "1t": 2**40,
    "1P": 2**50,
    ".5k": 512,
    "1.k": 1024,
    "1.5": 1,
    "+1k": 1024,
    "9223372036854775807": 2**63 - 1,
}

BAD_SIZES = {
    "": "is not a number of bytes",
    "m": "is not a number of bytes",
    "512x": "is not a number of bytes",
    "512mib ": "is not a number of bytes",
    "512  m": "is not a number of bytes",
    "1kbb": "is not a number of bytes",
    "1ib": "is not a number of bytes",
    "1bi": "is not a number of bytes",
    "1e3": "is not a number of bytes",
    "0x10": "is not a number of bytes",
    "1_000": "is not a number of bytes",
    "nan": "is not a number of bytes",
    "inf": "is not a number of bytes",
    "50%": "is not a number of bytes",
    "1\u212a": "is not a number of bytes",  # the sign for kelvin is a k in lower case
    "-1": "is negative",
    "-5m": "is negative",
    "100000000000g": "is more bytes than there can be",
    "9223372036854775808": "is more bytes than there can be",
    "9" * 40: "is not a number of bytes",
}


@pytest.mark.parametrize(("text", "expected"), SIZES.items())
def test_size(text: str, expected: int) -> None:
    assert size.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_SIZES.items())
def test_bad_size(text: str, message: str) -> None:
    _refused(size.parse, text, message)


DURATIONS = {
    "0": 0.0,
    "0s": 0.0,
    "30s": 30.0,
    "1m30s": 90.0,
    "1h5m30s20ms": 3930.02,
    "1.5m": 90.0,
    ".5s": 0.5,
    "1.s": 1.0,
    "2d": 172800.0,
    "1w": 604800.0,
    "100us": 1e-4,
    "100µs": 1e-4,
    "5ns": 5e-9,
    "+5s": 5.0,
    "1s1m": 61.0,
}

BAD_DURATIONS = {
    "": "is not a duration",
    "30": "has no unit: write 30s",
    "1m 30s": "without blanks",
    " 1s": "is not a duration",
    "1s\n": "is not a duration",
    "30S": "is not a duration",
    "1y": "is not a duration",
    "s": "is not a duration",
    ".s": "is not a duration",
    "1m30": "is not a duration",
    "-1s": "is negative",
    "-0": "is negative",
    "٣s": "is not a duration",
    "99999999999h": "is longer than 292 years",
    "1s" * 40: "is not a duration",
}


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items())
def test_duration(text: str, expected: float) -> None:
    assert duration.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_DURATIONS.items())
def test_bad_duration(text: str, message: str) -> None:
    _refused(duration.parse, text, message)


TMPFS = {
    "/run": Tmpfs("/run"),
    "/run/../tmp/": Tmpfs("/tmp"),
    "/t:size=64m,mode=1777,ro": Tmpfs("/t", 64 * 2**20, 0o1777, read_only=True),
    "/t:rw,noexec,nosuid,nodev,exec,mode=0700": Tmpfs("/t", None, 0o700),
}

BAD_TMPFS = {
    "": "is not an absolute path",
    "run": "is not an absolute path",
    "/t:": 'the option "" of a tmpfs is not supported',
    "/t:suid": 'the option "suid" of a tmpfs is not supported',
    "/t:dev": 'the option "dev" of a tmpfs is not supported',
    "/t:rw=1": 'the option "rw=1" of a tmpfs is not supported',
    "/t:uid=0": 'the option "uid=0" of a tmpfs is not supported',
    "/t:size=50%": "is not a number of bytes",
    "/t:size": 'the option "size" of a tmpfs is not supported',
    "/t:mode=4777": "is not the mode of a folder",
    "/t:mode=u+x": "is not the mode of a folder",
    "/t:mode=": "is not the mode of a folder",
    "/t:size=…": "is not a number of bytes",
}


@pytest.mark.parametrize(("text", "expected"), TMPFS.items())
def test_tmpfs(text: str, expected: Tmpfs) -> None:
    assert tmpfs.parse(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD_TMPFS.items())
def test_bad_tmpfs(text: str, message: str) -> None:
    _refused(tmpfs.parse, text, message)


@pytest.mark.parametrize(
    ("text", "expected"),
    {"/": "/", "//": "/", "///a": "/a", "//a": "/a", "/a/..": "/", "/../a": "/a", "/a/./b/": "/a/b"}.items(),
)
def test_clean(text: str, expected: str) -> None:
    assert path.clean(text) == expected


PARSERS: tuple[Callable[[str], object], ...] = (
    volume.parse,
    port.parse,
    port.exposed,
    extra_host.parse,
    link.parse,
    words.parse,
    size.parse,
    duration.parse,
    tmpfs.parse,
)
_SOME = st.text(
    st.sampled_from("0123456789abcCmsgGkiBx.:/-=,[]~\\ \t\n'\"`$()&|;<>%+_\x00\u202e\u212aé٣…"), max_size=60
)


@given(_SOME | st.text(max_size=100))
@example("\ud800")
@example("x" * 100_000)
@example("9" * 10_000)
def test_nothing_but_a_short_sentence_is_raised(text: str) -> None:
    for parse in PARSERS:
        sentence = _sentence(parse, text)
        assert len(sentence) < 500
        assert visible.text(sentence) == sentence
        assert "\n" not in sentence


def _sentence(parse: Callable[[str], object], text: str) -> str:
    try:
        parse(text)
    except InvalidInput as e:
        return str(e)
    return ""


def _refused(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    assert message in str(refused.value)
