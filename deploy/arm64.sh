#!/usr/bin/env bash
# Proves that weir's engine gives the same bytes on arm64 as on x86-64: builds
# the engine's tests for arm64, and runs the golden script and the replay and
# snapshot tests under qemu's user-mode emulation. Without qemu-aarch64 it says
# so and does nothing, unless WEIR_REQUIRE names arm64.
set -eu -o pipefail
cd "$(dirname "$0")/.."
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if [ "$(uname -m)" = aarch64 ]; then
  qemu=env # the machine itself is the test
elif [ -z "$qemu" ]; then
  case ",${WEIR_REQUIRE:-}," in
    *,arm64,*) echo "arm64: FAIL: qemu-aarch64 is required and not installed (on Debian: apt-get install qemu-user)"; exit 1 ;;
  esac
  echo "arm64: skipped: qemu-aarch64 is not installed (on Debian: apt-get install qemu-user)"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go test -c -o "$work/baseline.test" ./baseline
cd baseline # for testdata
"$qemu" "$work/baseline.test" -test.v -test.run '^(TestGolden|TestReplayIsByteIdentical|TestScripts)$' >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
grep -q '^--- PASS: TestGolden ' "$work/out" || { cat "$work/out"; echo "arm64: FAIL: the golden script did not run"; exit 1; }
echo "arm64: ok: verdicts, actors, routes and snapshot are the bytes of testdata/golden ($(sed -nE 's/^--- PASS: (Test[A-Za-z]+) .*/\1/p' "$work/out" | paste -sd ' '))"
