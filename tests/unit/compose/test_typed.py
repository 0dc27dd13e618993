"""The typed stack: each key's values as Compose reads them, and what no policy can loosen."""

from __future__ import annotations

import pytest

from stromboli.compose import stack
from stromboli.compose.problem import Mark
from stromboli.compose.stack import Anonymous, Bind, ImageMount, Named, SecretMount, Tmpfs
from stromboli.compose.typed import environment
from stromboli.compose.typed.networks import MOST_EXPOSED
from stromboli.errors import ComposeProblem, Unreadable
from tests.support import composed
from tests.support.composed import FOLDER, problem, service


@pytest.mark.parametrize("word", ["true", "yes", "On", "'on'", "y", '"TRUE"'])
def test_words_for_true_are_cast(word: str) -> None:
    assert service(f"privileged: {word}").privileged


@pytest.mark.parametrize("word", ["false", "no", "Off", "'off'", "N"])
def test_words_for_false_are_cast(word: str) -> None:
    assert not service(f"privileged: {word}").privileged


@pytest.mark.parametrize("word", ['"1"', "t", '""', "null", "1", "[]", "{}"])
def test_other_words_are_no_booleans(word: str) -> None:
    assert problem(f"privileged: {word}")[0] == "privileged"


def test_the_values_of_variables_are_text_as_compose_writes_it() -> None:
    keys = "environment: {A: 1.50, B: 0777, C: true, D: off, E: 22:22, F: 1e3, G: '', H: 1_000, I: 1e21, J: 0.00001}"
    assert service(keys).environment == {
        "A": "1.5",
        "B": "511",
        "C": "true",
        "D": "off",
        "E": "22:22",
        "F": "1000",
        "G": "",
        "H": "1000",
        "I": "1e+21",
        "J": "1e-05",
    }


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("{A: 2020-01-01}", "environment.A"),
        ("{A: .nan}", "environment.A"),
        ("{A: -.inf}", "environment.A"),
        ("{A: [x]}", "environment.A"),
        ('{"A B": x}', 'environment["A B"]'),
        ('{"": x}', 'environment[""]'),
        ('["A\\tB=x"]', "environment[0]"),
    ],
)
def test_what_is_no_variable_is_refused(entry: str, key: str) -> None:
    assert problem(f"environment: {entry}")[0] == key


def test_a_variable_without_a_value_is_answered_from_outside_or_removed() -> None:
    found = service(
        "environment: {A: , B: , C: ''}, env_file: e", {"A": "given"}, {f"{FOLDER}/e": "A=file\nB=file\nD=4"}
    )
    assert found.environment == {"A": "given", "C": "", "D": "4"}
    assert found.unset == {"B"}


def test_environment_comes_before_env_files_and_later_files_before_earlier_ones() -> None:
    files = {f"{FOLDER}/one": "A=1\nB=1\nC=1", f"{FOLDER}/two": "B=2\nC=2"}
    found = service("environment: {C: '3'}, env_file: [one, two, {path: gone, required: false}]", None, files)
    assert found.environment == {"A": "1", "B": "2", "C": "3"}


def test_an_env_file_sees_variables_then_the_services_own_then_its_earlier_lines() -> None:
    files = {f"{FOLDER}/e": "X=line\nA=${X}\nOWN=line\nB=${OWN}\nHERE=line\nC=${HERE}"}
    found = service("environment: {OWN: own}, env_file: e", {"X": "outside"}, files)
    assert (found.environment["A"], found.environment["B"], found.environment["C"]) == ("outside", "own", "line")


def test_a_raw_env_file_is_taken_as_it_is() -> None:
    found = service("env_file: [{path: e, format: raw}]", {"X": "1"}, {f"{FOLDER}/e": "A='${X}' # b"})
    assert found.environment == {"A": "'${X}' # b"}


def test_a_problem_with_an_env_file_names_its_key_and_line_but_not_its_text() -> None:
    key, what = problem("env_file: [e]", {f"{FOLDER}/e": "A=1\nsecret of somebody"})
    assert key == "env_file[0]"
    assert "line 2" in what
    assert "secret" not in what
    assert problem("env_file: gone")[0].startswith("env_file")


def test_every_kind_of_mount() -> None:
    found = service(
        "volumes: [./data:/data:ro, vol:/v:nocopy, /anonymous, "
        "{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 01777}}, {type: image, source: 'busybox:1', target: /i}, "
        "{type: bind, source: /srv/x, target: /x, bind: {create_host_path: false}}], tmpfs: '/s:size=64k,mode=700'",
        volumes="{vol: }",
    )
    at = "services.s.volumes"
    assert found.mounts == (
        Bind(f"{at}[0]", f"{FOLDER}/data", "/data", True),
        Named(f"{at}[1]", "vol", "/v", no_copy=True),
        Anonymous(f"{at}[2]", "/anonymous"),
        Tmpfs(f"{at}[3]", "/t", 2**20, 0o1777),
        ImageMount(f"{at}[4]", "busybox:1", "/i"),
        Bind(f"{at}[5]", "/srv/x", "/x", create=False),
        Tmpfs("services.s.tmpfs[0]", "/s", 2**16, 0o700),
    )


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/x/..",
        "/proc",
        "/proc/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/shm",
        "/x/../dev/./mem",
        "/opt/claude",
        "/opt//claude/bin",
        "/run/stromboli",
        "/run/stromboli/session",
        "/var/run/stromboli",
        "/etc/claude-code",
    ],
)
def test_nothing_is_mounted_over_the_kernels_trees_and_ours(target: str) -> None:
    assert problem(f"volumes: ['./d:{target}']")[0].startswith("volumes[0]")
    assert problem(f"volumes: [{{type: volume, target: '{target}'}}]")[0].startswith("volumes[0]")
    assert problem(f"tmpfs: ['{target}']")[0] == "tmpfs[0]"
    secret = f"secrets: [{{source: k, target: '{target}'}}]"
    assert problem(secret, secrets="{k: {file: ./k}}")[0] == "secrets[0].target"


@pytest.mark.parametrize("target", ["/opt", "/run", "/devices", "/processes", "/opt/claude-code", "/run/secrets"])
def test_places_beside_them_are_free(target: str) -> None:
    assert service(f"volumes: ['./d:{target}']").mounts[0].target == target


def test_the_size_of_dev_shm_has_a_key_of_its_own() -> None:
    assert "set shm_size" in problem("tmpfs: /dev/shm")[1]
    assert "set shm_size" not in problem("tmpfs: /dev/mqueue")[1]


def test_the_same_target_twice_is_refused() -> None:
    assert problem("volumes: [./a:/x], tmpfs: /x")[0] == "tmpfs[0]"
    both = "volumes: ['./a:/run/secrets/k'], secrets: [k]"
    assert problem(both, secrets="{k: {file: ./k}}")[0] == "secrets[0]"


def test_secrets_are_files_with_a_mode() -> None:
    found = service(
        "secrets: [k, {source: k, target: other, mode: 0400, uid: '10', gid: '20'}, "
        "{source: k, target: /x, mode: '0440'}]",
        secrets="{k: {file: ./k}}",
    )
    where = ("secrets.k.file", f"{FOLDER}/k")
    assert found.secrets == (
        SecretMount(where[0], "services.s.secrets[0]", where[1], "/run/secrets/k"),
        SecretMount(where[0], "services.s.secrets[1]", where[1], "/run/secrets/other", 0o400, 10, 20),
        SecretMount(where[0], "services.s.secrets[2]", where[1], "/x", 0o440),
    )


@pytest.mark.parametrize("mode", ["04755", "0o7777", "'4755'", "-1", "1.5", "rw"])
def test_a_secret_is_not_given_more_than_permissions(mode: str) -> None:
    assert problem(f"secrets: [{{source: k, mode: {mode}}}]", secrets="{k: {file: ./k}}")[0] == "secrets[0].mode"


def test_health_checks_leave_to_the_image_what_they_do_not_say() -> None:
    found = service("healthcheck: {test: 'a && b', interval: 1m30s, timeout: 0s, retries: '5'}").healthcheck
    assert found == stack.HealthCheck(("CMD-SHELL", "a && b"), interval=90.0, retries=5)
    assert service("healthcheck: {disable: true}").healthcheck == stack.HealthCheck(("NONE",))
    assert service("healthcheck: {test: [NONE, x]}").healthcheck == stack.HealthCheck(("NONE",))
    assert service("healthcheck: {test: []}").healthcheck == stack.HealthCheck()
    longest = service("healthcheck: {interval: 500ms, timeout: 7d, retries: 100000}").healthcheck
    assert longest == stack.HealthCheck(interval=0.5, timeout=604800.0, retries=100_000)
    whole = "healthcheck: {test: [CMD, x], start_period: 10s, start_interval: 500ms}"
    assert service(whole).healthcheck == stack.HealthCheck(("CMD", "x"), start_period=10.0, start_interval=0.5)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("test: [pg_isready]", "test"),
        ("test: [CMD]", "test"),
        ("test: [CMD, 1]", "test[1]"),
        ("interval: 1us", "interval"),
        ("interval: 499ms", "interval"),
        ("interval: 30", "interval"),
        ("interval: 1m 30s", "interval"),
        ("interval: -1s", "interval"),
        ("start_interval: 1ms, start_period: 1s", "start_interval"),
        ("start_interval: 1s", "start_interval"),
        ("retries: -1", "retries"),
        ("retries: 1.5", "retries"),
        ("timeout: 8d", "timeout"),
        ("every: 1s", "every"),
    ],
)
def test_what_is_wrong_with_a_health_check(keys: str, key: str) -> None:
    assert problem(f"healthcheck: {{{keys}}}")[0] == f"healthcheck.{key}"


def test_limits_of_both_places() -> None:
    found = service(
        "mem_limit: 1.5g, memswap_limit: 2g, cpus: '0.5', pids_limit: 100, shm_size: 64m, "
        "deploy: {resources: {limits: {memory: 1536M, cpus: 0.5}, reservations: {memory: 32m, cpus: 2}}}"
    )
    assert found.limits == stack.Limits(3 * 2**29, 2**25, 2**31, 500, 100, 2**26)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("mem_limit: -1", "mem_limit"),
        ("mem_limit: '-1'", "mem_limit"),
        ("mem_limit: 0", "mem_limit"),
        ("mem_limit: 1k", "mem_limit"),
        ("mem_limit: 100000000000g", "mem_limit"),
        ("memswap_limit: -1", "memswap_limit"),
        ("memswap_limit: 1g", "memswap_limit"),
        ("mem_limit: 1g, memswap_limit: 512m", "memswap_limit"),
        ("mem_limit: 1g, mem_reservation: 2g", "mem_reservation"),
        ("mem_limit: 1g, deploy: {resources: {limits: {memory: 2g}}}", "mem_limit"),
        ("deploy: {resources: {limits: {memory: 1073741824}}}", "deploy.resources.limits.memory"),
        ("deploy: {resources: {limits: {memory: '-1'}}}", "deploy.resources.limits.memory"),
        ("pids_limit: -1", "pids_limit"),
        ("pids_limit: 0", "pids_limit"),
        ("deploy: {resources: {limits: {pids: -1}}}", "deploy.resources.limits.pids"),
        ("cpus: .nan", "cpus"),
        ("cpus: .inf", "cpus"),
        ("cpus: -1", "cpus"),
        ("cpus: 1e9", "cpus"),
        ("shm_size: -1", "shm_size"),
        ("scale: 2", "scale"),
        ("deploy: {replicas: 500}", "deploy.replicas"),
        ("ulimits: {nproc: {soft: 2000, hard: 1000}}", "ulimits.nproc"),
        ("ulimits: {nproc: {soft: -1, hard: 1000}}", "ulimits.nproc"),
        ("ulimits: {nothing: 1}", "ulimits.nothing"),
        ("ulimits: {rtprio: 99}", "ulimits.rtprio"),
        ("ulimits: {nofile: -2}", "ulimits.nofile"),
        ("ulimits: {nofile: {hard: 1}}", "ulimits.nofile"),
        ("stop_grace_period: 25h", "stop_grace_period"),
    ],
)
def test_what_is_wrong_with_limits(keys: str, key: str) -> None:
    assert problem(keys)[0].startswith(key)


def test_the_least_and_the_most_that_can_be_asked_for() -> None:
    least = service("mem_limit: 6m, memswap_limit: 6m, mem_reservation: 6m, cpus: 0.001, pids_limit: 1").limits
    assert least == stack.Limits(6 * 2**20, 6 * 2**20, 6 * 2**20, 1, 1)
    most = service("cpus: 8192, pids_limit: 4194304, stop_grace_period: 1d, ulimits: {nofile: {soft: 5, hard: 5}}")
    assert most.limits == stack.Limits(cpus=8_192_000, pids=4_194_304)
    assert most.stop_grace_period == 86400.0
    assert problem("cpus: 0.0009")[0] == "cpus"


def test_a_limit_that_may_be_0_is_none_then() -> None:
    assert service("cpus: 0, mem_reservation: 0").limits == stack.Limits()
    assert service("mem_reservation: 1m").limits.memory_reservation == 2**20, "a container can start with less"


@pytest.mark.parametrize(
    "keys",
    [
        "devices: ['/dev/sda']",
        "device_cgroup_rules: ['c 1:3 mr']",
        "gpus: all",
        "sysctls: [kernel.msgmax=1]",
        "sysctls: {kernel.msgmax: 1}",
        "cgroup_parent: /x",
        "runtime: crun-wasm",
        "group_add: [keep-groups]",
        "oom_score_adj: -1000",
        "oom_kill_disable: true",
        "pid: host",
        "pid: 'service:db'",
        "ipc: host",
        "ipc: shareable",
        "uts: host",
        "userns_mode: host",
        "cgroup: host",
        "annotations: [a=b]",
        "volumes_from: [db]",
        "configs: [c]",
        "dns: [1.1.1.1]",
        "develop: {watch: []}",
        "post_start: [{command: id}]",
        "use_api_socket: true",
        "credential_spec: {file: x}",
        "label_file: x",
        "network_mode: 'container:other'",
        "network_mode: 'ns:/proc/1/ns/net'",
        "network_mode: pasta",
        "network_mode: 'slirp4netns:allow_host_loopback=true'",
        "network_mode: HOST",
        "security_opt: ['seccomp=unconfined']",
        "security_opt: ['label:disable']",
        "security_opt: ['no-new-privileges:false']",
        "security_opt: [unmask=ALL]",
        "cap_add: [CAP_EVERYTHING]",
        'extra_hosts: ["a:1.2.3.4\\n5.6.7.8 b"]',
        "working_dir: /proc/self/fd/8",
        "working_dir: relative",
        'hostname: "a\\nb"',
        "container_name: ../x",
        "stop_signal: SIGNOTHING",
        "restart: sometimes",
        "pull_policy: maybe",
        "user: 1000",
        "user: 'a b'",
        "platform: 'linux/amd64;rm'",
        "image: 'UPPER'",
        "volumes: ['.:/w:rshared']",
        "volumes: ['.:/w:U']",
        "volumes: [{type: cluster, source: x, target: /x}]",
        "volumes: [{type: bind, source: /x, target: /x, bind: {propagation: shared}}]",
        "volumes: [{type: volume, source: v, target: /x, volume: {subpath: ..}}]",
        "networks: {n: {ipv4_address: 10.0.0.2}}",
        "ports: ['8000-8001:80-82']",
        "command: a && b",
        "command: [sleep, 1]",
    ],
)
def test_what_no_policy_can_allow_is_refused_by_its_key(keys: str) -> None:
    assert problem(keys)[0].startswith(keys.partition(":")[0])


@pytest.mark.parametrize(
    ("key", "top"),
    [
        ("volumes.v.driver", {"volumes": "{v: {driver: nfs}}"}),
        ("volumes.v.driver_opts", {"volumes": "{v: {driver: local, driver_opts: {type: none, o: bind, device: /}}}"}),
        ("volumes.v.external", {"volumes": "{v: {external: true}}"}),
        ("volumes.v.external", {"volumes": "{v: {external: {name: x}}}"}),
        ("volumes.v.labels[0]", {"volumes": "{v: {labels: ['Stromboli.dev/x=y']}}"}),
        ('volumes[".."]', {"volumes": "{'..': }"}),
        ("networks.n.driver", {"networks": "{n: {driver: macvlan}}"}),
        ("networks.n.driver_opts", {"networks": "{n: {driver_opts: {a: b}}}"}),
        ("networks.n.external", {"networks": "{n: {external: yes}}"}),
        ("networks.n.ipam.driver", {"networks": "{n: {ipam: {driver: dhcp}}}"}),
        ("networks.n.ipam.options", {"networks": "{n: {ipam: {options: {a: b}}}}"}),
        ("networks.n.attachable", {"networks": "{n: {attachable: true}}"}),
        ("secrets.k.external", {"secrets": "{k: {external: true}}"}),
        ("secrets.k.environment", {"secrets": "{k: {environment: HOME}}"}),
        ("secrets.k.driver", {"secrets": "{k: {driver: x}}"}),
        ("secrets.k.file", {"secrets": "{k: {}}"}),
        ("configs.c.file", {"configs": "{c: {file: ./c}}"}),
        ("volume", {"volume": "{}"}),
        ("models.m.model", {"models": "{m: {model: x}}"}),
        ("version", {"version": "3"}),
    ],
)
def test_what_is_wrong_at_the_top_level(key: str, top: dict[str, str]) -> None:
    found = problem("init: true", **top)[0]
    assert found == key or found.startswith((f"{key}.", f"{key}["))


@pytest.mark.parametrize(
    "label",
    ["stromboli.dev/owner", "STROMBOLI.dev/x", "agents.stromboli.dev/x", "stromboli.dev", "io.containers.autoupdate"],
)
def test_labels_that_mean_something_to_the_operator_or_podman_are_refused(label: str) -> None:
    assert problem(f"labels: {{{label}: x}}")[0] == f'labels["{label}"]'
    assert problem(f"labels: ['{label}=x']")[0] == "labels[0]"


def test_labels_beside_them_are_kept() -> None:
    keys = "labels: {my-stromboli.dev/x: 1, a: , 'traefik.enable': true}"
    assert service(keys).labels == {"my-stromboli.dev/x": "1", "a": "", "traefik.enable": "true"}


def test_a_text_has_a_bound_and_no_nul() -> None:
    assert problem(f"labels: {{a: {'x' * 65536}}}")[0] == "labels.a"
    assert service(f"labels: {{a: {'x' * 65535}}}")
    assert problem('labels: {a: "x\\0"}')[0] == "labels.a"


def test_a_mistyped_key_gets_a_suggestion() -> None:
    key, what = problem("enviroment: {A: b}")
    assert key == "enviroment"
    assert "did you mean environment?" in what
    assert "interval, retries" not in problem("every: 1s")[1], "not fifty keys in a message"
    assert "are test, disable, interval" in problem("healthcheck: {every: 1s}")[1]


def test_a_key_without_a_value_is_refused_but_for_commands() -> None:
    assert problem("environment: ")[0] == "environment"
    assert service("command: , deploy: ").command is None
    assert service("command: [], entrypoint: ''").command == ()
    assert service("command: [], entrypoint: ''").entrypoint == ()


@pytest.mark.parametrize(
    ("given", "user"),
    [("vscode", "vscode"), ("1000:1000", "1000:1000"), (":", "0"), ("1:", "1"), (":5", "0:5"), ("", None)],
)
def test_users_with_empty_parts(given: str, user: str | None) -> None:
    assert service(f"user: '{given}'").user == user


def test_an_empty_text_leaves_a_key_out() -> None:
    found = service(
        "container_name: '', hostname: '', network_mode: '', platform: '', restart: '$NOTHING', working_dir: ''"
    )
    assert (found.container_name, found.hostname, found.network_mode) == (None, None, None)
    assert (found.platform, found.restart, found.working_dir) == (None, None, None)
    assert set(found.networks) == {"default"}
    assert composed.stack("services: {s: {image: '', build: .}}").services["s"].image is None
    with pytest.raises(ComposeProblem, match=r"services\.s\.image: is empty"):
        composed.stack("services: {s: {image: '$NOTHING'}}")
    assert problem("mem_limit: ''")[0] == "mem_limit"


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("extra_hosts: ['a:1.2.3.4', 'api.anthropic.com:1.2.3.4']", "extra_hosts[1]"),
        ("extra_hosts: {API.Anthropic.com: 1.2.3.4}", 'extra_hosts["API.Anthropic.com"]'),
        ("networks: {default: {aliases: [x, api.anthropic.com]}}", "networks.default.aliases[1]"),
        ("container_name: claude.ai", "container_name"),
        ("hostname: api.anthropic.com", "hostname"),
        ("links: ['s:api.anthropic.com']", "links[0]"),
    ],
)
def test_no_service_takes_a_name_of_the_messages_api(keys: str, key: str) -> None:
    assert problem(keys)[0].startswith(key)
    assert service("extra_hosts: ['notanthropic.com:1.2.3.4']")
    with pytest.raises(ComposeProblem, match=r'services\["api\.anthropic\.com"\]: is a name of the Messages API'):
        composed.stack("services: {api.anthropic.com: {image: x}}")


def test_variables_and_commands_fit_a_process() -> None:
    assert problem("env_file: e", {f"{FOLDER}/e": f"A={'x' * 131_072}"})[0] == "env_file"
    assert service("env_file: e", None, {f"{FOLDER}/e": f"A={'x' * 131_000}"})
    several = {f"{FOLDER}/{name}": "\n".join(f"{name}{n}={'x' * 100_000}" for n in range(6)) for name in "ef"}
    key, what = problem("env_file: [e, f]", several)
    assert key == ""
    assert "1048576 bytes" in what


def test_builds_have_absolute_paths_and_answered_arguments() -> None:
    found = composed.stack(
        "services: {s: {build: {context: ./app, dockerfile: ../D, args: {A: , B: 2, C: }}}}", {"A": "1"}
    )
    assert found.services["s"].build == stack.Build(
        "services.s.build", f"{FOLDER}/app", f"{FOLDER}/D", args={"A": "1", "B": "2"}
    )
    found = composed.stack("services: {s: {build: {dockerfile_inline: FROM x}}}")
    assert found.services["s"].build == stack.Build("services.s.build", FOLDER, None, "FROM x")


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("context: 'https://example.org/x.git'", "context"),
        ("context: 'git@example.org:x'", "context"),
        ("context: ., dockerfile: D, dockerfile_inline: FROM x", "dockerfile_inline"),
        ("context: ., privileged: 'true'", "privileged"),
        ("context: ., network: host", "network"),
        ("context: ., ssh: [default]", "ssh[0]"),
        ("context: ., secrets: [s]", "secrets[0]"),
        ("context: ., additional_contexts: {a: 'docker-image://x'}", "additional_contexts.a"),
        ("context: ., tags: ['postgres:16']", "tags[0]"),
        ("context: ., tags: ['localhost/stromboli/session:1']", "tags[0]"),
    ],
)
def test_what_is_wrong_with_a_build(keys: str, key: str) -> None:
    assert problem(f"build: {{{keys}}}")[0] == f"build.{key}"


def test_a_service_needs_an_image_or_a_build() -> None:
    with pytest.raises(ComposeProblem, match=r"compose.yaml:1: services\.s: has neither image nor build"):
        composed.stack("services: {s: {init: true}}")


def test_services_without_networks_are_on_the_default_one() -> None:
    found = composed.stack("services: {a: {image: x}, b: {image: x, networks: {n: {aliases: [c]}}}}\nnetworks: {n: }")
    assert found.services["a"].networks == {"default": stack.Attachment("services.a")}
    assert found.services["b"].networks == {"n": stack.Attachment("services.b.networks.n", ("c",))}
    assert set(found.networks) == {"n", "default"}
    assert composed.stack("services: {a: {image: x, network_mode: none}}").networks == {}


def test_ports_of_a_range_and_of_the_long_form() -> None:
    found = service(
        "ports: ['127.0.0.1:80-81:90-91/udp', {target: 1, published: '2', host_ip: '::1', mode: host}], "
        "expose: [5, '6-7']"
    )
    assert found.ports == (
        stack.Port("services.s.ports[0]", 90, "udp", 80, "127.0.0.1"),
        stack.Port("services.s.ports[0]", 91, "udp", 81, "127.0.0.1"),
        stack.Port("services.s.ports[1]", 1, "tcp", 2, "::1"),
    )
    assert [port.container for port in found.expose] == [5, 6, 7]


def test_what_has_no_effect_is_said_once_for_each_reason() -> None:
    found = composed.stack(
        "name: x\nservices: {a: {image: x, tty: true, stdin_open: true}, "
        "b: {image: x, tty: true, logging: {driver: none}}}"
    )
    assert found.notices == (
        "accepted without effect: name (names are the session's own)",
        "accepted without effect: services.a.tty, services.a.stdin_open, services.b.tty (nobody is at a terminal)",
        "accepted without effect: services.b.logging (logs are kept by the operator)",
    )


def test_the_keys_of_a_service_have_their_places() -> None:
    found = composed.stack("services:\n  s:\n    image: x\n    cap_add:\n    - NET_ADMIN\n").services["s"]
    assert found.mark_of("services.s.cap_add[0]") == Mark("compose.yaml", 5)
    assert found.mark_of("services.s.cap_add[0].more.and.more") == Mark("compose.yaml", 5)
    assert found.mark_of("services.s.tty") == found.mark_of("services.s")
    links = composed.stack("services:\n  s:\n    image: x\n    depends_on:\n    - t\n  t:\n    image: x\n").services[
        "s"
    ]
    assert links.depends_on[0].at == "services.s.depends_on[0]"
    assert links.keys["services.s.depends_on[0]"] == Mark("compose.yaml", 5)
    assert found.cap_add == (stack.Capability("services.s.cap_add[0]", "NET_ADMIN"),)


@pytest.mark.parametrize("name", ["..", ".", "-a", "a b", "é", "x" * 64, "db\u202e"])
def test_names_that_could_be_anything_else_are_refused(name: str) -> None:
    with pytest.raises(ComposeProblem) as caught:
        composed.stack(f"services: {{'{name}': {{image: x}}}}")
    assert caught.value.key.startswith("services")
    assert caught.value.key != "services"
    assert "\u202e" not in str(caught.value)


def test_few_entries_do_not_stand_for_any_number_of_ports() -> None:
    assert len(service(f'expose: ["1-{MOST_EXPOSED}"]').expose) == MOST_EXPOSED
    key, what = problem(f'expose: ["1-{MOST_EXPOSED}", "1"]')
    assert key == "expose[1]"
    assert "one too many" in what


def test_env_files_count_for_each_service_that_has_them() -> None:
    def two(size: int) -> str:
        text = "services: {a: {image: x, env_file: e}, b: {image: x, env_file: [{path: e}]}}"
        composed.stack(text, files={f"{FOLDER}/e": "# " + "x" * (size - 2)})
        return text

    assert two(environment.MOST_BYTES // 8)
    read = environment.EnvFiles(composed.SomeFiles({"/e": "A=1"}), left=environment.MOST_BYTES)
    times = environment.MOST_BYTES // 1024
    for _ in range(times):
        read.read("/e")
    with pytest.raises(Unreadable, match="one too many"):
        read.read("/e")


def test_numbers_of_users_and_modes_are_what_the_kernel_takes() -> None:
    top = {"secrets": "{p: {file: ./p}}"}
    assert service('secrets: [{source: p, uid: "4294967294"}]', **top).secrets[0].uid == 4294967294
    for wrong in ("4294967295", "0" * 20 + "9" * 20, "\u0663"):
        key, what = problem(f'secrets: [{{source: p, uid: "{wrong}"}}]', None, **top)
        assert (key, what.split(",")[0]) == ("secrets[0].uid", "is not a number in quotes")
    key, what = problem("volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '888'}}]")
    assert (key, what) == ("volumes[0].tmpfs.mode", "is not the mode of a folder such as 01777")
