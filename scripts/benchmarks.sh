#!/usr/bin/env bash
# Runs every benchmark, one after the other, and stores the figures in benchmarks/results.json.
# Goes on after one that missed its bound or found the machine busy; the exit code says that one did.
set -uo pipefail
cd "$(dirname "$0")/.."

if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
  -r requirements-bench.txt; then
  echo "the rivals of benchmarks/policy.py cannot be installed here; it leaves them out" >&2
fi
failed=()
for benchmark in benchmarks/[a-z]*.py; do
  case "$benchmark" in benchmarks/results.py | benchmarks/stack.py) continue ;; esac
  echo "== $benchmark"
  .venv/bin/python "$benchmark" --save || failed+=("$benchmark ($?)")
done
.venv/bin/python scripts/gen_docs.py
if [ ${#failed[@]} -gt 0 ]; then
  echo "benchmarks over their bound or without a verdict: ${failed[*]}" >&2
  exit 1
fi
