"""Real services for tests of stacks, as images: PostgreSQL and Redis from Debian's packages, and one to work with them.

They have the names and the ways of Docker Hub's images, so that a compose file written for those works as it is: the
same variables, volumes, ports and stop signals, and no HEALTHCHECK. The entrypoints are ours. A server gives up root
before it begins, which needs no more than Podman's default capabilities, and works with no-new-privileges. Clients
ask for a name again while Podman's name server does not answer (lookups.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from stromboli.local import debian
from stromboli.local.rootfs import Root
from tests.support import images, lookups
from tests.support.images import Recipe, Sources

SERVICE_UID = 999  # the user of a server, postgres or redis, as in Docker Hub's images
ENTRYPOINT = "usr/local/bin/docker-entrypoint.sh"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("bash", "coreutils", "dash", "findutils", "grep", "gzip", "libc-bin", "sed")
# For a package's scripts, which do not run, or for compiling queries, which PostgreSQL does without.
_FOR_SCRIPTS = re.compile(
    r"(adduser|debconf|dpkg|init-system-helpers|libc-l10n|libllvm.*|libz3.*|locales|lsb-base|openssl|passwd|perl.*"
    r"|libperl.*|lib.*-perl|libgdbm.*|libsemanage.*|libsepol.*|postgresql-(client-)?common|ssl-cert|sysvinit-utils|ucf"
    r"|usrmerge)_"
)
_COMPILER = re.compile(r"usr/lib/postgresql/[^/]+/lib/(bitcode/|llvmjit)")

_POSTGRES = """\
#!/bin/bash
# Initialises an empty PGDATA as the variables POSTGRES_… say, then becomes the server.
set -eo pipefail
shopt -s nullglob

fail() { echo "docker-entrypoint.sh: $*" >&2; exit 1; }

from_file() { # NAME DEFAULT: the variable's value, or the content of the file that NAME_FILE names
  local file="$1_FILE"
  [ -z "${!1}" ] || [ -z "${!file}" ] || fail "both $1 and $file are set"
  [ -z "${!file}" ] || printf -v "$1" %s "$(<"${!file}")"
  [ -n "${!1}" ] || printf -v "$1" %s "$2"
  export "${1?}"
  unset "$file"
}

query() { psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"; }

initialise() {
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER postgres
  from_file POSTGRES_DB "$POSTGRES_USER"
  from_file POSTGRES_INITDB_ARGS
  if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
    fail "the database has no password: set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust"
  fi
  local arguments=()
  eval "arguments=($POSTGRES_INITDB_ARGS)"  # it may have quotes in it
  printf '%s\\n' "$POSTGRES_PASSWORD" |
    initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile=/dev/stdin "${arguments[@]}"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
  # Nobody is let in over the network before everything is in place.
  pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses=''" start
  if [ "$POSTGRES_DB" != postgres ]; then
    query --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
  fi
  for file in /docker-entrypoint-initdb.d/*; do
    echo "docker-entrypoint.sh: $file"
    case $file in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) query --dbname "$POSTGRES_DB" --file "$file" ;;
      *.sql.gz) gzip -dc "$file" | query --dbname "$POSTGRES_DB" ;;
    esac
  done
  pg_ctl --pgdata "$PGDATA" --wait --mode fast stop
  unset POSTGRES_PASSWORD
}

case $1 in -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  if [ "$(id -u)" = 0 ]; then
    chmod 3775 /var/run/postgresql
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
  fi
  chmod 700 "$PGDATA" 2>/dev/null || :
  [ -s "$PGDATA/PG_VERSION" ] || initialise
fi
exec "$@"
"""

_REDIS = """\
#!/bin/bash
# Becomes the server, as the user redis. Without a password it lets others in, as Docker Hub's image does.
set -e
case $1 in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis:redis {} +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
  fi
  case " $* " in
    *" --protected-mode "*) ;;
    *) [ -f "$2" ] && grep -q '^ *protected-mode' "$2" || set -- "$@" --protected-mode no ;;
  esac
fi
exec "$@"
"""

# The program with the same name in usr/bin, which reads nothing and does nothing before it has found its server.
_CLIENT = f"""\
#!/bin/sh
for try in $(seq {lookups.TRIES}); do
  {{ said=$("/usr/bin/${{0##*/}}" "$@" 2>&1 >&3); code=$?; }} 3>&1
  [ $code != 0 ] || break
  case $said in {lookups.PATTERN}) sleep {lookups.PAUSE} ;; *) break ;; esac
done
[ -z "$said" ] || printf '%s\\n' "$said" >&2
exit $code
"""


def build(name: str, environ: Mapping[str, str]) -> str:
    """Ensure that an image (a key of RECIPES) is in the Podman of `environ`. Returns its reference."""
    images.RECIPES.setdefault(name, RECIPES[name])
    return images.build(name, environ)


def archive(name: str, environ: Mapping[str, str]) -> Path:
    """The image as an archive for another Podman, as `images.archive`."""
    images.RECIPES.setdefault(name, RECIPES[name])
    return images.archive(name, environ)


def _postgres(root: Root, sources: Sources) -> None:
    debs = _without_scripts(sources.closure(*_SYSTEM, "postgresql"))
    _system(root, sources, "postgres", _POSTGRES)
    root.directory("docker-entrypoint-initdb.d")
    root.directory("run/postgresql", mode=0o3777, owner=SERVICE_UID)
    root.directory("var/lib/postgresql", owner=SERVICE_UID)
    root.directory("var/lib/postgresql/data", mode=0o1777, owner=SERVICE_UID)
    _client(root, debs, "postgres", "initdb", "pg_ctl", "pg_controldata")
    root.packages(debs, lambda path: not _COMPILER.match(path) and (debian.wanted(path) or _is_zone(path)))


def _redis(root: Root, sources: Sources) -> None:
    _system(root, sources, "redis", _REDIS)
    root.directory("data", owner=SERVICE_UID)
    _patient(root, "redis-cli")
    root.packages(_without_scripts(sources.closure(*_SYSTEM, "redis-server")), debian.wanted)


def _workbench(root: Root, sources: Sources) -> None:
    clients = ("postgresql-client", "python3-psycopg2", "redis-tools")
    debs = _without_scripts(sources.closure(*debian.BASE_PACKAGES, *clients))
    _client(root, debs)
    _patient(root, "redis-cli")
    debian.write_base(root, debs)


def _system(root: Root, sources: Sources, user: str, entrypoint: str) -> None:
    root.merged_usr()
    root.symlink("var/run", "/run")
    root.symlink("usr/bin/sh", "dash")
    home = {"postgres": "/var/lib/postgresql", "redis": "/data"}[user]
    passwd = f"root:x:0:0:root:/root:/bin/bash\n{user}:x:{SERVICE_UID}:{SERVICE_UID}::{home}:/bin/bash\n"
    root.file("etc/passwd", passwd.encode())
    root.file("etc/group", f"root:x:0:\n{user}:x:{SERVICE_UID}:\n".encode())
    root.file(ENTRYPOINT, entrypoint.encode(), mode=0o755)
    root.packages(sources.exactly("util-linux"), lambda path: path == "usr/bin/setpriv")


def _client(root: Root, debs: Iterable[Path], *more: str) -> None:
    """PostgreSQL's programs on the PATH: the scripts that choose a version are left out."""
    [version] = {found[1] for deb in debs if (found := re.match(r"postgresql-client-([0-9]+)_", deb.name))}
    for program in ("createdb", "dropdb", "pg_dump", "pg_isready", "psql", *more):
        root.symlink(f"usr/bin/{program}", f"../lib/postgresql/{version}/bin/{program}")
    _patient(root, "psql")


def _patient(root: Root, client: str) -> None:
    root.file(f"usr/local/bin/{client}", _CLIENT.encode(), mode=0o755)


def _without_scripts(debs: Iterable[Path]) -> list[Path]:
    return [deb for deb in debs if not _FOR_SCRIPTS.match(deb.name)]


def _is_zone(path: str) -> bool:
    return path.startswith("usr/share/zoneinfo/")


# The archive's name depends on the changes: editing this module builds its images again.
_THIS = f"LABEL recipe={hashlib.sha256(Path(__file__).read_bytes() + _CLIENT.encode()).hexdigest()[:16]}"

RECIPES: dict[str, Recipe] = {
    "postgres": Recipe(
        "docker.io/library/postgres:16",
        _postgres,
        (
            f"ENV PATH={_PATH}",
            "ENV LANG=C.UTF-8",
            "ENV PGDATA=/var/lib/postgresql/data",
            "VOLUME /var/lib/postgresql/data",
            "EXPOSE 5432",
            "STOPSIGNAL SIGINT",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["postgres"]',
            _THIS,
        ),
    ),
    "redis": Recipe(
        "docker.io/library/redis:7",
        _redis,
        (
            f"ENV PATH={_PATH}",
            "VOLUME /data",
            "WORKDIR /data",
            "EXPOSE 6379",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["redis-server"]',
            _THIS,
        ),
    ),
    "workbench": Recipe("localhost/stromboli-test/workbench:1", _workbench, ('CMD ["python3"]', _THIS)),
}
