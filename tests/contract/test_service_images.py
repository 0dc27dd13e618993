"""The images of real services behave as Docker Hub's do, in what compose files rely on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import lookups, services
from tests.support.podman import IsolatedPodman
from tests.support.waiting import eventually

PASSWORD = "dev pass'word"


@dataclass
class Box:
    """A network with service containers, named by their aliases; what was created is removed by `clear`."""

    podman: IsolatedPodman
    network: str = field(default_factory=lambda: f"services-{uuid.uuid4().hex[:8]}")

    def start(self, alias: str, image: str, *options: str, command: tuple[str, ...] = ()) -> None:
        safe = ("--security-opt=no-new-privileges", "--network", self.network, "--network-alias", alias)
        self.podman.run("run", "--detach", "--name", self.name(alias), *safe, *options, image, *command)

    def name(self, alias: str) -> str:
        return f"{self.network}-{alias}"

    def exec(self, alias: str, *command: str) -> str:
        return self.podman.run("exec", self.name(alias), *command)

    def beside(self, script: str) -> str:
        """The output of a script in a container of its own on the network."""
        image = services.build("workbench", self.podman.env)
        return self.podman.run("run", "--rm", "--network", self.network, image, "sh", "-ec", script)

    def until(self, alias: str, *command: str) -> None:
        """Wait until a command in the container succeeds."""

        def succeeds() -> bool:
            try:
                self.exec(alias, *command)
            except RuntimeError:
                return False
            return True

        name = self.name(alias)
        eventually(succeeds, f"{command} in {alias}", lambda: self.podman.run("logs", name)[-2000:])

    def clear(self) -> None:
        names = self.podman.run("ps", "--all", "--filter", f"network={self.network}", "--format", "{{.Names}}")
        self.podman.remove_containers(*names.split())
        for volume in self.podman.run("volume", "ls", "--quiet", "--filter", f"name={self.network}").split():
            self.podman.run("volume", "rm", volume)
        self.podman.run("network", "rm", self.network)


@pytest.fixture
def box(isolated_podman: IsolatedPodman) -> Iterator[Box]:
    made = Box(isolated_podman)
    isolated_podman.run("network", "create", made.network)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def config(isolated_podman: IsolatedPodman) -> Callable[[str], dict[str, object]]:
    """The configuration of a service's image."""

    def read(name: str) -> dict[str, object]:
        image = services.build(name, isolated_podman.env)
        [found] = json.loads(isolated_podman.run("image", "inspect", image))
        of_image: dict[str, object] = found["Config"]
        return of_image | {"Healthcheck": found.get("Healthcheck")}

    return read


def test_their_configuration_is_like_the_hubs(config: Callable[[str], dict[str, object]]) -> None:
    expected: dict[str, tuple[object, ...]] = {
        "postgres": ({"5432/tcp": {}}, {"/var/lib/postgresql/data": {}}, "2", ["postgres"]),  # 2 is SIGINT
        "redis": ({"6379/tcp": {}}, {"/data": {}}, None, ["redis-server"]),
    }
    for name, values in expected.items():
        found = config(name)
        assert tuple(found.get(key) for key in ("ExposedPorts", "Volumes", "StopSignal", "Cmd")) == values
        assert found["Entrypoint"] == ["docker-entrypoint.sh"]
        assert found["Healthcheck"] is None
        assert "User" not in found


def test_postgres_obeys_its_variables_and_keeps_its_data(box: Box, tmp_path: Path) -> None:
    image = services.build("postgres", box.podman.env)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    first = tmp_path / "first"
    first.mkdir()
    (first / "1-rows.sql").write_text("CREATE TABLE seeded (n int); INSERT INTO seeded VALUES (7);")
    (first / "2-more.sh").write_text('psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO seeded VALUES (8)"\n')
    tmp_path.chmod(0o755)
    box.start(
        "db",
        image,
        *("--env", "POSTGRES_USER=shop", "--env", "POSTGRES_DB=orders", "--env", "POSTGRES_PASSWORD_FILE=/password"),
        *("--volume", f"{tmp_path}/password:/password:ro", "--volume", f"{first}:/docker-entrypoint-initdb.d:ro"),
        *("--volume", f"{box.network}:/var/lib/postgresql/data"),
        command=("-c", "max_connections=20"),
    )
    box.until("db", "pg_isready", "--host=127.0.0.1", "--quiet")
    ask = f'PGPASSWORD="{PASSWORD}" psql -h db -U shop -d orders -At'
    assert box.beside(f'{ask} -c "SHOW max_connections" -c "TABLE seeded"').split() == ["20", "7", "8"]
    with pytest.raises(RuntimeError, match="password authentication failed"):
        box.beside("PGPASSWORD=wrong psql -h db -U shop -d orders -c 'SELECT 1'")
    assert box.exec("db", "stat", "--format=%U", "/proc/1") == "postgres"

    box.exec("db", "psql", "-U", "shop", "-d", "orders", "-c", "INSERT INTO seeded VALUES (9)")
    box.podman.run("kill", box.name("db"))
    box.podman.run("start", box.name("db"))
    box.until("db", "pg_isready", "--host=127.0.0.1", "--quiet")
    assert box.beside(f'{ask} -c "TABLE seeded"').split() == ["7", "8", "9"]


def test_postgres_without_a_password_says_what_to_set(box: Box) -> None:
    image = services.build("postgres", box.podman.env)
    with pytest.raises(RuntimeError, match="set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust"):
        box.podman.run("run", "--rm", "--network=none", image)
    box.start("db", image, "--env", "POSTGRES_HOST_AUTH_METHOD=trust", "--env", "POSTGRES_INITDB_ARGS=-A 'trust'")
    box.until("db", "pg_isready", "--host=127.0.0.1", "--quiet")
    assert box.beside("psql -h db -U postgres -Atc 'SELECT current_user'") == "postgres"


def test_postgres_stops_at_its_signal(box: Box) -> None:
    """With SIGTERM it would wait for clients to go."""
    box.start("db", services.build("postgres", box.podman.env), "--env", "POSTGRES_PASSWORD=p")
    box.until("db", "pg_isready", "--host=127.0.0.1", "--quiet")
    box.podman.run("exec", "--detach", box.name("db"), "psql", "-U", "postgres", "-c", "SELECT pg_sleep(60)")
    box.until("db", "sh", "-c", "psql -U postgres -Atc 'SELECT query FROM pg_stat_activity' | grep -q 'sleep(60)$'")
    box.podman.run("stop", "--time", "10", box.name("db"))
    assert box.podman.run("inspect", "--format", "{{.State.ExitCode}}", box.name("db")) == "0"


def test_redis_answers_others_and_keeps_its_data(box: Box) -> None:
    image = services.build("redis", box.podman.env)
    box.start("cache", image, "--volume", f"{box.network}:/data", command=("--appendonly", "yes"))
    box.until("cache", "redis-cli", "ping")
    assert box.beside("redis-cli -h cache set word basalt") == "OK"
    assert box.exec("cache", "stat", "--format=%U", "/proc/1") == "redis"
    box.podman.run("kill", box.name("cache"))
    box.podman.run("start", box.name("cache"))
    box.until("cache", "redis-cli", "ping")
    assert box.beside("redis-cli -h cache get word") == "basalt"


def test_python_reaches_postgres_too(box: Box) -> None:
    box.start("db", services.build("postgres", box.podman.env), "--env", "POSTGRES_PASSWORD=p")
    box.until("db", "pg_isready", "--host=127.0.0.1", "--quiet")
    script = (
        "import psycopg2; cursor = psycopg2.connect(host='db', user='postgres', password='p').cursor(); "
        "cursor.execute('SELECT 6 * 7'); print(cursor.fetchone()[0])"
    )
    assert box.beside(lookups.repeated(f'python3 -c "{script}"')) == "42"
