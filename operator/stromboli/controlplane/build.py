"""The control plane built from the Go modules in `module/`. What is verified is go.sum's business.

The module cache is the person's own, as for every other Go program, where there is one; where there is none, and for
the build cache (3.8 GB), it is a scratch folder that the caller removes. How the toolchain's output is read is in
`toolchain.py`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from stromboli.controlplane import toolchain, versions
from stromboli.controlplane.progress import Report, Stage
from stromboli.errors import LocalFailure

# Where Go's own instructions put it, for a shell whose profile did not add it to PATH.
ELSEWHERE = "/usr/local/go/bin"
ROOM = 6_000_000_000  # bytes: build cache 3.8 GB, modules 0.8 GB, programs 0.3 GB, and some
_ETCD = "go.etcd.io/etcd/server/v3"
PACKAGES = (_ETCD, *(f"k8s.io/kubernetes/cmd/{name}" for name in versions.PROGRAMS if name != "etcd"))
# Without a version the server calls itself v0.0.0-master+$Format:%H$, on which `kubectl version` fails.
_LDFLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion=v{versions.KUBERNETES}"


def build(target: Path, scratch: Path, arch: str, environ: Mapping[str, str], report: Report) -> None:
    """Put all four programs into the folder `target`; about 8 minutes on 2 cores.

    Raises LocalFailure if there is no Go that is new enough, no room, or the build fails.
    """
    module = _module(scratch)
    env = _environment(environ, scratch, arch)
    go = _go(env, module)
    _check_room(scratch)
    report(f"building Kubernetes {versions.KUBERNETES} and etcd {versions.ETCD} from the Go modules")
    total = _download(go, module, env, report)
    _compile(go, module, env, target, total, report)
    (target / "server").rename(target / "etcd")  # go names a program after its package's last word


def _module(scratch: Path) -> Path:
    """A copy of the module: `go` completes go.mod in place (-mod=mod)."""
    module = scratch / "module"
    module.mkdir()
    shipped = resources.files("stromboli.controlplane") / "module"
    for name in ("go.mod", "go.sum"):
        (module / name).write_bytes((shipped / name).read_bytes())
    return module


def _environment(environ: Mapping[str, str], scratch: Path, arch: str) -> dict[str, str]:
    """The person's own (proxy, flags, module cache), but for what would end up elsewhere or otherwise."""
    (scratch / "tmp").mkdir()
    return {
        **environ,
        **_module_cache(environ, scratch),
        "PATH": os.pathsep.join(filter(None, (environ.get("PATH"), ELSEWHERE))),
        "CGO_ENABLED": "0",
        "GOARCH": arch,
        "GOCACHE": str(scratch / "gocache"),
        "GOOS": "linux",
        "GOTMPDIR": str(scratch / "tmp"),
        "GOWORK": "off",
    }


def _module_cache(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Where modules (0.8 GB) go if this person has never used Go; elsewhere they are left to the person's own cache."""
    gopath = environ.get("GOPATH") or os.path.join(environ.get("HOME") or "/", "go")
    own = environ.get("GOMODCACHE") or os.path.join(gopath.split(os.pathsep)[0], "pkg/mod")
    if os.path.isdir(own):
        return {}
    # Writable, or it could not be removed.
    flags = f"{environ.get('GOFLAGS', '')} -modcacherw".strip()
    return {"GOMODCACHE": str(scratch / "gomodcache"), "GOFLAGS": flags}


def _go(env: Mapping[str, str], module: Path) -> str:
    """The toolchain's path. Asked inside the module, since a Go may fetch the one that go.mod calls for."""
    wanted = ".".join(map(str, versions.GO))
    go = shutil.which("go", path=env["PATH"])
    if go is None:
        raise LocalFailure(f"there is no Go toolchain on PATH (Go {wanted} or newer builds it)")
    version = toolchain.output([go, "env", "GOVERSION"], module, env)
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < versions.GO:
        raise LocalFailure(f"{go} is {version or 'of no known version'}, and Go {wanted} or newer is needed")
    return go


def _check_room(scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if free < ROOM:
        raise LocalFailure(f"a build takes {ROOM / 1e9:.0f} GB at {scratch.parent}, and {free / 1e9:.1f} GB are free")


def _download(go: str, module: Path, env: Mapping[str, str], report: Report) -> int:
    """Fetch the modules; the number of packages there are to compile."""
    stage = Stage(report, "fetching Go modules")
    total = sum("/go.mod " not in line for line in (module / "go.sum").read_text().splitlines())
    fetched = 0
    packages = module / "packages"
    with toolchain.running([go, "list", "-mod=mod", "-deps", *PACKAGES], module, env, packages) as lines:
        for line in lines:
            fetched += bool(line and line.startswith("go: downloading"))
            stage.tick(f"{fetched} of at most {total}")
    stage.done(f"{fetched} fetched, the rest was there")
    return len(packages.read_text().split())


def _compile(go: str, module: Path, env: Mapping[str, str], target: Path, total: int, report: Report) -> None:
    stage = Stage(report, "compiling the control plane", every=10.0)
    command = [
        go,
        "build",
        "-mod=mod",
        "-v",
        "-trimpath",
        "-ldflags",
        _LDFLAGS,
        "-o",
        f"{target}/",
        *PACKAGES,
    ]
    compiled = 0
    with toolchain.running(command, module, env) as lines:
        for line in lines:
            compiled += bool(line and re.fullmatch(r"[\w./~-]+", line))
            stage.tick(f"{min(compiled, total)} of {total} packages")
    stage.done(f"{total} packages")
