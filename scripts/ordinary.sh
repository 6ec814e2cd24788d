#!/usr/bin/env bash
# Runs pytest as an ordinary uid, from a tree and an environment that this uid can read. Root only.
#
#   scripts/ordinary.sh [pytest arguments]
#
# The checkout and its .venv often lie under /root, where an ordinary uid sees nothing; so both are made again below
# a public folder: the environment once per lock file, the tree as it is now.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ORDINARY_UID=${RINGWALL_TEST_UID:-12345}
readonly BASE=/var/tmp/ringwall-ordinary
say() { echo "ringwall ordinary: $*" >&2; }

[ "$(id -u)" = 0 ] || { say "needs root, to become somebody else"; exit 3; }
command -v setpriv >/dev/null || { say "setpriv is missing; apt-get install -y util-linux"; exit 3; }

# Anybody may make folders in /var/tmp: what is not root's own is not used.
mkdir -p -m 0755 "$BASE"
[ "$(stat -c '%u %a %F' "$BASE")" = "0 755 directory" ] || { say "$BASE is not root's own folder; remove it"; exit 1; }
exec 8>"$BASE/lock"
flock 8

as_ordinary() {
  setpriv --reuid="$ORDINARY_UID" --regid="$ORDINARY_UID" --clear-groups "$@"
}

readable_python() { # a Python 3.11 or later that the ordinary uid can start
  local candidate
  for candidate in /usr/bin/python3 /usr/local/bin/python3 "$(command -v python3)"; do
    if as_ordinary "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then
      echo "$candidate"
      return
    fi
  done
  return 1
}
cd /
if ! python=$(readable_python); then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >&2 || true
  python=$(readable_python) || { say "no Python 3.11 that uid $ORDINARY_UID can read; apt-get install -y python3-venv"; exit 3; }
fi
cd "$OLDPWD"

umask 022
key=$({ cat requirements-dev.txt scripts/ordinary.sh; "$python" --version; } | sha256sum | cut -c1-16)
env="$BASE/env-$key"
if [ ! -e "$env/.done" ]; then
  say "making an environment for uid $ORDINARY_UID (first time: about a minute)"
  rm -rf "$BASE"/env-*
  "$python" -m venv "$env"
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
    --only-binary :all: -r requirements-dev.txt
  touch "$env/.done"
fi

tree="$BASE/tree"
rm -rf "$tree"
mkdir -m 0755 "$tree"
git ls-files -z --cached --others --exclude-standard --deduplicate |
  xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh |
  tar --null --files-from=- --create --file=- | tar --extract --no-same-owner --file=- --directory="$tree"
chmod -R a+rX,go-w "$tree"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation \
  -e "$tree"

home=$(mktemp -d /var/tmp/ringwall-home.XXXXXX)
chown "$ORDINARY_UID:$ORDINARY_UID" "$home"
trap 'rm -rf "$home"' EXIT
cd "$tree"
opa=$(command -v opa || true)
if [ -n "$opa" ] && ! as_ordinary test -x "$opa"; then
  install -m 0755 "$opa" "$env/bin/opa"
fi
status=0
as_ordinary env -i HOME="$home" TMPDIR="$home" PATH="$env/bin:/usr/bin:/bin" LANG=C.UTF-8 CI="${CI:-}" \
  ${RINGWALL_DATA:+RINGWALL_DATA="$RINGWALL_DATA"} PYTHONDONTWRITEBYTECODE=1 \
  "$env/bin/python" -m pytest "$@" || status=$?
exit "$status"
