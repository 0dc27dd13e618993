#!/usr/bin/env bash
# Installs what this checkout needs on Debian 12, Ubuntu 24.04 or newer: Podman and its helpers by apt, and
# .venv from the lock file. Prints each step; does nothing if everything is installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
log=$(mktemp -t stromboli-setup.XXXXXX)
trap 'rm -f "$log"' EXIT
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # runc, netavark and iptables are there

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}
has() { command -v "$1" >/dev/null; }
helper() { [ -x "/usr/lib/podman/$1" ] || [ -x "/usr/libexec/podman/$1" ] || has "$1"; }

# --- what is missing ---------------------------------------------------------------------------------------

hybrid_cgroups() { [ ! -e /sys/fs/cgroup/cgroup.controllers ] && [ -d /sys/fs/cgroup/unified ]; }

missing_packages() {
  has podman || echo podman
  if hybrid_cgroups; then # crun does not support them
    has runc || echo runc
  else
    has crun || has runc || echo crun
  fi
  for name in netavark aardvark-dns catatonit; do helper "$name" || echo "$name"; done
  for name in fuse-overlayfs iptables; do has "$name" || echo "$name"; done
  has slirp4netns || has pasta || echo slirp4netns
  has newuidmap || echo uidmap
  has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
  [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
  python=$(find_python usable) || missing_python
  has npm || registry_answers || echo npm
}

# The first Python 3.11 or newer; with $1 `usable`, one that can create virtual environments, with `any`, any.
find_python() {
  local name modules=sys
  [ "$1" = any ] || modules='ensurepip, venv'
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c "import sys, $modules; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

missing_python() {
  local found
  if found=$(find_python any); then
    "$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  else
    printf '%s\n' python3 python3-venv
  fi
}

# If no registry can be reached, the Claude CLI's image is built with npm.
registry_answers() { timeout 5 bash -c '</dev/tcp/ghcr.io/443' 2>/dev/null; }

# --- Debian packages ---------------------------------------------------------------------------------------

install_packages() {
  local packages=("$@") command="apt-get install --no-install-recommends ${*}"
  say "missing: ${packages[*]}"
  has apt-get || die "this machine has no apt-get; install these packages with its own package manager, then run this again"
  choose_root "$command"
  # If there are no package lists, or they are too old to install from: again after an update.
  if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || ! apt_get install --no-install-recommends "${packages[@]}"; then
    say "apt-get update"
    apt_get update || die "apt-get update failed:" "$(tail -n 5 "$log")" "look at /etc/apt/sources.list and the network"
    apt_get install --no-install-recommends "${packages[@]}" ||
      die "apt-get could not install them:" "$(tail -n 5 "$log")" "run by hand: $command"
  fi
}

choose_root() {
  as_root=()
  [ "$(id -u)" = 0 ] && return
  # If there is a terminal, sudo may ask for the password.
  if has sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
    as_root=(sudo)
  else
    die "only root may install them; run as root, then run this again:" "  $1"
  fi
}

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" 2>&1 |
    tee "$log" | sed -un 's/^Setting up \([^ :]*\).*/setup:   \1/p; s/^\(Need to get .*\)$/setup:   \1/p'
}

# --- .venv -------------------------------------------------------------------------------------------------

make_venv() {
  local python=$1 wanted=$2 total
  total=$(grep -c '^[a-z].*==' "$root/requirements.lock")
  say ".venv: creating it with $("$python" -V) and $total packages from requirements.lock"
  rm -rf "$root/.venv"
  "$python" -m venv "$root/.venv"
  pip install --require-hashes -r "$root/requirements.lock" ||
    die "pip could not install the packages:" "$(tail -n 5 "$log")" "check that pip's package index can be reached (pip config list)"
  pip install --no-deps --no-build-isolation --editable "$root" ||
    die "pip could not install Stromboli itself:" "$(tail -n 5 "$log")"
  printf '%s' "$wanted" >"$root/.venv/complete"
}

pip() {
  "$root/.venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" --progress-bar off 2>&1 | tee "$log" |
    awk '/^Collecting / { n += 1; if (n % 10 == 0) { print "setup:   " n " packages"; fflush() } }'
}

# --- main --------------------------------------------------------------------------------------------------

exec 9<"$root"
flock 9 # two at once take turns

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
python=$(find_python usable) || die "there is no Python 3.11 or newer with venv, and apt does not provide one" \
  "install one so that \`python3.11 -m venv\` works, then run this again"
wanted="$root $("$python" -V) $(cat "$root/requirements.lock" "$root/pyproject.toml" | sha256sum)"
[ "$(cat "$root/.venv/complete" 2>/dev/null)" = "$wanted" ] || make_venv "$python" "$wanted"
