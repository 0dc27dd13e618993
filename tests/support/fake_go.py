"""A fake `go` command with scripted behaviour that records its invocations."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """#!/bin/sh
here="{folder}"
echo "$@" >> "$here/calls"
case "$1" in
env) cat "$here/version" ;;
list)
    echo "go: downloading k8s.io/api v0.1.0" >&2
    echo "go: downloading k8s.io/client-go v0.1.0" >&2
    printf 'unsafe\\nfmt\\nk8s.io/api\\n' ;;
build)
    env > "$here/env"; pwd > "$here/cwd"; ls "$(pwd)" > "$here/module"
    mkdir -p "$GOCACHE/00" && echo object > "$GOCACHE/00/object"
    printf 'fmt\\nk8s.io/api\\nk8s.io/kubernetes/cmd/kubectl\\n' >&2
    if [ -e "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
    while [ "$1" != -o ]; do shift; done
    for name in server kube-apiserver kube-controller-manager kubectl; do
        printf '#!/bin/sh\\necho built\\n' > "$2$name"; chmod +x "$2$name"
    done ;;
esac
"""


class FakeGo:
    """The command in `folder`, with the records of its invocations beside it."""

    def __init__(self, folder: Path, version: str = "go1.26.8") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "version").write_text(f"{version}\n")
        (folder / "go").write_text(_SCRIPT.format(folder=folder))
        (folder / "go").chmod(0o755)

    def environ(self, **more: str) -> dict[str, str]:
        """An environment whose PATH has this command as the Go toolchain."""
        return {"PATH": f"{self.folder}:/usr/bin:/bin", "HOME": str(self.folder), **more}

    def fail(self, message: str) -> None:
        """Make the build fail with `message` and exit code 1."""
        (self.folder / "fails").write_text(message)

    @property
    def calls(self) -> list[str]:
        """The command lines it was called with, in order."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def build_environ(self) -> dict[str, str]:
        """The environment that the build ran in."""
        lines = (self.folder / "env").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    @property
    def module(self) -> list[str]:
        """The files in the working directory of the build."""
        return (self.folder / "module").read_text().split()
