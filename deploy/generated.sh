#!/usr/bin/env bash
# Generates everything again and fails when a committed file differs. BPF objects
# are compared only where the pinned clang is installed.
set -eu
cd "$(dirname "$0")/.."
if ! command -v clang-14 >/dev/null && ! clang --version 2>/dev/null | grep -q 'version 14'; then
  echo "generated files: clang 14 is not installed, the BPF objects were not compared"
  go generate $(go list ./... | grep -v collector/bpf)
else
  go generate ./...
fi
git diff --exit-code --stat
