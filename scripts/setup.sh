#!/usr/bin/env bash
# Makes .venv with locked, hashed dependencies and this project; does nothing when it is there already.
#
#   scripts/setup.sh            what runs Ringwall
#   scripts/setup.sh dev        what tests, types and lints it as well
#
# Exit codes: 0 done; 1 an installation failed; 3 something is missing here (the line that mends it is printed).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LEVEL=${1:-run}
readonly APT_LINE="apt-get update && apt-get install -y git make python3-venv"
case $LEVEL in
  run) readonly LOCK=requirements.txt ;;
  dev) readonly LOCK=requirements-dev.txt ;;
  *)
    echo "usage: scripts/setup.sh [run|dev]" >&2
    exit 2
    ;;
esac

say() { echo "ringwall setup: $*" >&2; }

usable() { # whether $1 is a Python 3.11 or later that can make environments
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if command -v "$candidate" >/dev/null && usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

missing() { ! command -v git >/dev/null || ! command -v make >/dev/null || ! find_python >/dev/null; }

ensure_system() {
  missing || return 0
  say "git, make or Python 3.11 with venv is missing"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "running: $APT_LINE"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq git make python3-venv >&2
  fi
  if missing; then
    echo "Needed first: sudo sh -c '$APT_LINE'" >&2
    exit 3
  fi
}

ensure_system
PYTHON=$(find_python)

# One set-up at a time: two makes at once would install over each other.
if command -v flock >/dev/null; then
  exec 9>.venv.lock
  flock 9
fi

if [ -e .venv ] && ! usable .venv/bin/python; then
  say "the Python of .venv is gone or too old; making it anew"
  rm -rf .venv
fi
if [ ! -e .venv ]; then
  say "making .venv with $("$PYTHON" --version)"
  "$PYTHON" -m venv .venv
fi

# The stamp holds what was installed, not when: equal files mean nothing to do and no network.
stamp=.venv/.ringwall-$LEVEL
key=$({ cat "$LOCK" pyproject.toml scripts/setup.sh; pwd; .venv/bin/python --version; } | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$key" ]; then
  say "installing what $LOCK locks (first time: about a minute)"
  pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input)
  if ! "${pip[@]}" --require-hashes --only-binary :all: -r "$LOCK" ||
    ! "${pip[@]}" --no-deps --no-build-isolation -e .; then
    say "the installation failed; nothing was marked as done, run it again"
    exit 1
  fi
  echo "$key" >"$stamp"
  say "ready"
fi
