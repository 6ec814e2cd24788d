#!/usr/bin/env bash
# Resolves pyproject.toml into requirements.txt, requirements-dev.txt and requirements-bench.txt: exact versions, hashes of every wheel,
# no index and no address in the files. Needs the network; nobody but a maintainer runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly UV_VERSION=0.13.9 # the resolver that wrote the files now in the tree
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet "uv==$UV_VERSION"

compile() { # $1: output file; the rest: options
  local out=$1
  shift
  {
    echo "# Written by scripts/lock.sh from pyproject.toml; do not edit."
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
      --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-build-options --only-binary :all: \
      "$@" pyproject.toml
  } >"$out.new"
  mv "$out.new" "$out"
}

compile requirements.txt --group build
compile requirements-dev.txt --group dev --group build --constraint requirements.txt
compile requirements-bench.txt --group bench --constraint requirements-dev.txt
