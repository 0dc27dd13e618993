"""Builds the control plane from the Go modules in `module/`; Go verifies the modules against go.sum.

The user's Go module cache is used if there is one, as by any Go program. Otherwise modules go to a scratch folder that
the caller removes, as the build cache (3.8 GB) always does. Running the toolchain and reading its output is in
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
from stromboli.errors import LocalFailure
from stromboli.progress import Progress, Step

# The folder in Go's installation instructions, searched in case PATH does not include it.
ELSEWHERE = "/usr/local/go/bin"
ROOM = 6_000_000_000  # bytes: build cache 3.8 GB, modules 0.8 GB, programs 0.3 GB, and a margin
_ETCD = "go.etcd.io/etcd/server/v3"
PACKAGES = (_ETCD, *(f"k8s.io/kubernetes/cmd/{name}" for name in versions.PROGRAMS if name != "etcd"))
# Otherwise the server's version is v0.0.0-master+$Format:%H$, on which `kubectl version` fails.
_LDFLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion=v{versions.KUBERNETES}"


def build(target: Path, scratch: Path, arch: str, environ: Mapping[str, str], progress: Progress) -> None:
    """Build all four programs into the folder `target`; about 8 minutes on 2 cores.

    Raises LocalFailure if there is no recent enough Go, not enough disk space, or the build fails.
    """
    module = _module(scratch)
    env = _environment(environ, scratch, arch)
    go = _go(env, module)
    _check_room(scratch)
    progress.line(f"building Kubernetes {versions.KUBERNETES} and etcd {versions.ETCD} from the Go modules")
    with progress.step("fetching Go modules") as step:
        total = _download(go, module, env, step)
    with progress.step("compiling the control plane") as step:
        _compile(go, module, env, target, total, step)
    (target / "server").rename(target / "etcd")  # go names a program after the last element of its package path


def _module(scratch: Path) -> Path:
    """A copy of the module: `go` completes go.mod in place (-mod=mod)."""
    module = scratch / "module"
    module.mkdir()
    shipped = resources.files("stromboli.controlplane") / "module"
    for name in ("go.mod", "go.sum"):
        (module / name).write_bytes((shipped / name).read_bytes())
    return module


def _environment(environ: Mapping[str, str], scratch: Path, arch: str) -> dict[str, str]:
    """The user's environment (proxy, flags, module cache), with the settings that the build depends on overridden."""
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
    """Settings for a module cache (0.8 GB) in the scratch folder; empty if the user has a module cache."""
    gopath = environ.get("GOPATH") or os.path.join(environ.get("HOME") or "/", "go")
    own = environ.get("GOMODCACHE") or os.path.join(gopath.split(os.pathsep)[0], "pkg/mod")
    if os.path.isdir(own):
        return {}
    # Go makes its module cache read-only by default, so that it could not be removed.
    flags = f"{environ.get('GOFLAGS', '')} -modcacherw".strip()
    return {"GOMODCACHE": str(scratch / "gomodcache"), "GOFLAGS": flags}


def _go(env: Mapping[str, str], module: Path) -> str:
    """The path of `go`. Its version is queried in the module, since Go may fetch the toolchain that go.mod requires."""
    wanted = ".".join(map(str, versions.GO))
    go = shutil.which("go", path=env["PATH"])
    if go is None:
        raise LocalFailure(f"there is no Go toolchain on PATH (Go {wanted} or newer is needed)")
    version = toolchain.output([go, "env", "GOVERSION"], module, env)
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < versions.GO:
        raise LocalFailure(f"{go} is {version or 'of no known version'}, and Go {wanted} or newer is needed")
    return go


def _check_room(scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if free < ROOM:
        raise LocalFailure(f"a build needs {ROOM / 1e9:.0f} GB at {scratch.parent}, but {free / 1e9:.1f} GB are free")


def _download(go: str, module: Path, env: Mapping[str, str], step: Step) -> int:
    """Fetch the modules. Returns the number of packages to compile."""
    most = sum("/go.mod " not in line for line in (module / "go.sum").read_text().splitlines())
    fetched = 0
    packages = module / "packages"
    with toolchain.running([go, "list", "-mod=mod", "-deps", *PACKAGES], module, env, packages) as lines:
        for line in lines:
            fetched += line.startswith("go: downloading")
            step.note(f"{fetched} of at most {most}")
    step.note(f"{fetched} fetched, the rest cached")
    return len(packages.read_text().split())


def _compile(go: str, module: Path, env: Mapping[str, str], target: Path, total: int, step: Step) -> None:
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
            compiled += bool(re.fullmatch(r"[\w./~-]+", line))
            step.done(min(compiled, total), total, "packages")
    step.done(total, total, "packages")
