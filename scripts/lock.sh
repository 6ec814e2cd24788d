#!/usr/bin/env bash
# Resolves pyproject.toml into requirements*.txt, and what conformance tests keep in environments of their own: exact
# versions, hashes of every wheel, no index and no address in the files. Needs the network; nobody but a maintainer runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly UV_VERSION=0.13.9 # the resolver that wrote the files now in the tree
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet "uv==$UV_VERSION"

compile() { # $1: output file; $2: what is resolved; the rest: options
  local out=$1 in=$2
  shift 2
  {
    echo "# Written by scripts/lock.sh from $in; do not edit."
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
      --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-build-options --only-binary :all: \
      "$@" "$in"
  } >"$out.new"
  mv "$out.new" "$out"
}

compile requirements.txt pyproject.toml --extra aws --group build # the demo has a bucket
compile requirements-dev.txt pyproject.toml --group dev --group build --constraint requirements.txt
compile requirements-bench.txt pyproject.toml --group bench --constraint requirements-dev.txt
# Judges and examples that want other versions than we do.
for apart in tests/conformance/*/requirements.in examples/*/requirements.in; do
  compile "${apart%.in}.txt" "$apart"
done
