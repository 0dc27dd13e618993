"""Volumes: how they are read, where nothing may be mounted, and what policies allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import Refused
from stromboli.plan import volumes
from stromboli.plan.policy import VolumeList
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason


def _parse(*texts: str) -> tuple[Volume, ...]:
    return volumes.parse(texts)


def _refused(*texts: str) -> str:
    with pytest.raises(Refused) as refusal:
        volumes.parse(texts)
    assert refusal.value.reason is Reason.InvalidSpec
    return refusal.value.message


@pytest.mark.parametrize(
    ("text", "host", "container", "read_only"),
    [
        ("/srv/code:/workspace", "/srv/code", "/workspace", False),
        ("/srv/code:/workspace:rw", "/srv/code", "/workspace", False),
        ("/srv/code:/workspace:ro", "/srv/code", "/workspace", True),
        ("/srv//code/:/workspace//a/", "/srv/code", "/workspace/a", False),
        ("//srv/./code:/./workspace/.", "/srv/code", "/workspace", False),
        ("/:/host", "/", "/host", False),
        ("/srv/a b:/w/é", "/srv/a b", "/w/é", False),
        ("/srv/..a:/w/a..", "/srv/..a", "/w/a..", False),
        ("/proc:/w", "/proc", "/w", False),
        ("/srv:/procedures", "/srv", "/procedures", False),
        ("/srv:/devel", "/srv", "/devel", False),
        ("/srv:/opt/claude-code", "/srv", "/opt/claude-code", False),
        ("/srv:/run/stromboli-x", "/srv", "/run/stromboli-x", False),
        ("/srv:/var/run/docker.sock", "/srv", "/var/run/docker.sock", False),
        ("/srv:/var", "/srv", "/var", False),
    ],
)
def test_read(text: str, host: str, container: str, read_only: bool) -> None:
    assert _parse(text) == (Volume(host, container, read_only),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not host:container[:ro|rw]"),
        ("/srv", "is not host:container[:ro|rw]"),
        ("/srv:/w:x", "is not host:container[:ro|rw]"),
        ("/srv:/w:ro:rw", "is not host:container[:ro|rw]"),
        ("/srv:/w:RO", "is not host:container[:ro|rw]"),
        ("/srv:/w:", "is not host:container[:ro|rw]"),
        ("srv:/w", "'srv' is not an absolute path"),
        ("data:/w", "'data' is not an absolute path"),
        ("./a:/w", "'./a' is not an absolute path"),
        ("~/a:/w", "'~/a' is not an absolute path"),
        ("/srv:w", "'w' is not an absolute path"),
        (":/w", "'' is not an absolute path"),
        ("/srv:", "'' is not an absolute path"),
        ("/srv/../etc:/w", "'/srv/../etc' has a .. in it; write the path that is meant"),
        ("/srv/..:/w", "has a .. in it"),
        ("/..:/w", "has a .. in it"),
        ("/srv:/w/..", "has a .. in it"),
        ("/srv:/w/../../proc", "has a .. in it"),
        ("/srv\0:/w", "has a NUL character in it"),
        ("/srv:/w\0", "has a NUL character in it"),
    ],
)
def test_not_read(text: str, said: str) -> None:
    message = _refused("/ok:/ok", text)
    assert message.startswith("spec.volumes[1]: ")
    assert said in message


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/.",
        "/proc",
        "/proc/",
        "/proc/sys/kernel",
        "//proc",
        "/./proc",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/shm",
        "/run",
        "/run/",
        "/run/stromboli",
        "/run//stromboli/plan",
        "/run/./stromboli/secret/env",
        "/var/run",
        "/var/run/stromboli",
        "/var/run/stromboli/out",
        "/opt",
        "/opt/claude",
        "/opt/claude/bin/claude",
        "/opt//claude//bin",
    ],
)
def test_nothing_can_be_mounted_there(target: str) -> None:
    message = _refused(f"/srv:{target}")
    assert message.startswith("spec.volumes[0]: nothing can be mounted at /")
    assert "choose another place, such as /workspace" in message


def test_one_place_takes_one_volume() -> None:
    assert "spec.volumes[2]: /w is mounted twice" in _refused("/a:/w", "/b:/x", "/c:/w/")
    assert len(_parse("/a:/w", "/b:/w/x")) == 2


@given(st.text(st.sampled_from("/.a"), max_size=12))
def test_a_path_that_is_read_is_normal_and_stays_it(path: str) -> None:
    try:
        (volume,) = _parse(f"/{path}:/w")
    except Refused:
        assert ".." in f"/{path}".split("/")
        return
    assert volume.host == volumes.normal(volume.host)
    assert "//" not in volume.host
    assert not {".", ".."} & set(volume.host.split("/"))
    assert volume.host == "/" or not volume.host.endswith("/")


@given(st.lists(st.sampled_from(["", ".", "proc", "dev", "run", "stromboli", "opt", "claude", "w"]), max_size=6))
def test_however_it_is_written_nothing_covers_our_trees(parts: list[str]) -> None:
    try:
        (volume,) = _parse("/srv:/" + "/".join(parts))
    except Refused:
        return
    for tree in ("/proc", "/sys", "/dev", "/run/stromboli", "/opt/claude"):
        assert not f"{tree}/".startswith(f"{volume.container.rstrip('/')}/")
        assert not f"{volume.container}/".startswith(f"{tree}/")


# --- policies ---


def _rules(owner: str, *folders: tuple[str, bool]) -> VolumeList:
    return VolumeList(owner, folders)


def _judge(text: str, *lists: VolumeList) -> str | None:
    """The refusal's message, or None where every list consents."""
    (volume,) = _parse(text)
    try:
        volumes.judge(volume, lists)
    except Refused as refusal:
        return refusal.message if refusal.reason is Reason.PolicyViolation else f"by {refusal.reason}"
    return None


CODE = _rules("AgentPolicy code", ("/srv/code", False))


@pytest.mark.parametrize("host", ["/srv/code", "/srv/code/", "/srv//code/a/b", "/srv/code/..a"])
def test_below_an_allowed_folder(host: str) -> None:
    assert _judge(f"{host}:/w", CODE) is None


@pytest.mark.parametrize(
    "host", ["/", "/srv", "/srv/code-evil", "/srv/codex/a", "/srv/cod", "/a/srv/code", "/srv/Code"]
)
def test_beside_or_above_an_allowed_folder(host: str) -> None:
    message = _judge(f"{host}:/w", CODE)
    assert message is not None
    assert f"the volume {host} (rw) is not allowed by AgentPolicy code, which allows /srv/code (rw)" in message


def test_a_read_only_folder_is_mounted_read_only() -> None:
    shared = _rules("AgentPolicy shared", ("/srv", True))
    assert _judge("/srv/a:/w:ro", shared) is None
    message = _judge("/srv/a:/w", shared)
    assert message is not None
    assert "(rw) is not allowed by AgentPolicy shared, which allows /srv (ro)" in message


def test_a_folder_that_may_be_written_may_be_read() -> None:
    assert _judge("/srv/code:/w:ro", CODE) is None


def test_within_one_list_any_folder_will_do() -> None:
    both = _rules("p", ("/srv", True), ("/srv/code", False))
    assert _judge("/srv/code/a:/w", both) is None
    assert _judge("/srv/a:/w:ro", both) is None
    assert _judge("/srv/a:/w", both) is not None


def test_every_list_has_to_consent() -> None:
    wide = _rules("AgentPolicy wide", ("/", False))
    assert _judge("/srv/code:/w", wide, CODE) is None
    message = _judge("/etc:/w", wide, CODE)
    assert message is not None
    assert "AgentPolicy code" in message


def test_the_root_allows_everything() -> None:
    assert _judge("/etc:/w", _rules("p", ("/", False))) is None


def test_an_allowed_folder_is_normalised_too() -> None:
    assert _judge("/srv/code:/w", _rules("p", ("/srv//code/", False))) is None


def test_an_empty_list_allows_no_host_path() -> None:
    message = _judge("/srv:/w", _rules("AgentPolicy closed"))
    assert message is not None
    assert "AgentPolicy closed, which allows no host path at all" in message


def test_no_list_at_all_allows_nothing() -> None:
    message = _judge("/srv:/w")
    assert message is not None
    assert "no policy allows any host path" in message
    assert "volumes.allowed of an AgentPolicy" in message


PATHS = st.lists(st.sampled_from(["srv", "code", "code-evil", "a"]), max_size=3).map(lambda p: "/" + "/".join(p))


@given(host=PATHS, root=PATHS)
def test_a_root_covers_itself_and_what_has_all_its_parts_first(host: str, root: str) -> None:
    parts, first = host.strip("/").split("/"), [p for p in root.split("/") if p]
    assert (_judge(f"{host}:/w", _rules("p", (root, False))) is None) == (parts[: len(first)] == first)


def landed(**moved: str) -> dict[str, str]:
    """Where mounts land: at their own paths, but for these (`srv_tools` is /srv/tools)."""
    paths = (*volumes.own_places(), "/srv/tools", "/work")
    return {path: moved.get(path[1:].replace("/", "_"), path) for path in paths}


@pytest.mark.parametrize(
    ("places", "tree"),
    [
        (landed(srv_tools="/opt/claude/bin"), "/opt/claude"),
        (landed(srv_tools="/opt"), "/opt/claude"),
        (landed(srv_tools="/run/stromboli/plan"), "/run/stromboli"),
        (landed(srv_tools="/proc/1"), "/proc"),
        (landed(srv_tools="/"), "/proc"),
        (landed(srv_tools="/usr/opt/claude/bin", opt_claude="/usr/opt/claude"), "/opt/claude"),
        (landed(opt_claude="/srv/tools/claude"), "/opt/claude"),
    ],
)
def test_a_target_is_judged_where_it_really_lands(places: dict[str, str], tree: str) -> None:
    with pytest.raises(Refused) as refusal:
        volumes.check_landings(_parse("/a:/work", "/b:/srv/tools"), places)
    assert refusal.value.reason is Reason.InvalidSpec
    assert refusal.value.message == (
        f"spec.volumes[1]: nothing can be mounted at /srv/tools: there the container has a link to "
        f"{places['/srv/tools']}, and {tree} belongs to the kernel or to Stromboli; choose another place, such as "
        "/workspace"
    )


def test_a_target_that_lands_anywhere_else_is_good() -> None:
    for places in (landed(), landed(srv_tools="/opt/claudette"), landed(opt_claude="/usr/opt/claude")):
        volumes.check_landings(_parse("/a:/work", "/b:/srv/tools"), places)


@pytest.mark.parametrize(
    ("places", "nested"),
    [
        ([], False),
        (["/a"], False),
        (["/a", "/b", "/ab"], False),
        (["/a", "/a.b", "/a/b"], True),
        (["/a/b/c", "/x", "/a"], True),
        (["/a", "/a"], True),
        (["/", "/a"], True),
    ],
)
def test_one_path_inside_another(places: list[str], nested: bool) -> None:
    assert volumes.are_nested(places) is nested
