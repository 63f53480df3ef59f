#!/usr/bin/env bash
# Runs every test, then says what was skipped and why, and what failed with all
# that it printed. Every line of every test is in bin/test.log. A capability that
# CI must have is named in WEIR_REQUIRE: there a missing one fails instead of
# skipping.
set -u -o pipefail
cd "$(dirname "$0")/.."
require=clickhouse,kafka,nginx,python
# BPF needs root and a kernel with BTF; a container without rights runs the rest.
if [ "$(id -u)" = 0 ] && [ -r /sys/kernel/btf/vmlinux ]; then require=$require,bpf; fi
export WEIR_REQUIRE=${WEIR_REQUIRE:-$require}
bin/weir doctor --fetch --quiet || exit 1

log=$PWD/bin/test.log
: >"$log"
status=0
run() { # one package at a time on small machines keeps the timing-sensitive tests honest
  "$@" 2>&1 | tee -a "$log" | grep --line-buffered -E '^(ok|FAIL|---? FAIL|panic:)|^\s+--- FAIL|DATA RACE'
  [ "${PIPESTATUS[0]}" = 0 ] || status=1
}
echo "== go test ./... (WEIR_REQUIRE=$WEIR_REQUIRE)"
run go test -v -p 2 -timeout 20m ./...
echo "== bench module"
pushd bench >/dev/null && run go test -v -timeout 15m ./... ; popd >/dev/null
# The kill tests are left out: what they kill are processes of their own, which
# the detector only slows down.
echo "== race detector on the concurrent packages (without the kill tests)"
run go test -race -timeout 15m -short -skip "^TestKill" $(go list ./... | grep -E '/(stream|enforcer|sinks|collector)($|/)' | grep -vE '/(broker/kafkatest|bpf|probe)$')

echo "== the engine's bytes on arm64"
./deploy/arm64.sh 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" = 0 ] || status=1

echo "== skipped"
# In verbose output the reason stands in the line before the verdict.
grep -hE -B1 '^\s*--- SKIP' "$log" | grep -vE '^--$|^=== ' | sed -E 's/^\s+/  /' || true
grep -E '^arm64: skipped' "$log" || true
grep -qE '^\s*--- SKIP|^arm64: skipped' "$log" || echo "  nothing"
if [ $status != 0 ]; then
  echo "== failures in full"
  # Parallel tests mix their lines; "=== NAME" says whose the next ones are.
  awk '/^=== /{split($3, part, "/"); name = part[1]}
       /^--- (PASS|SKIP)/{delete said[$3]; next}
       /^--- FAIL/{printf "%s\n%s", $0, said[$3]; delete said[$3]; next}
       /^(ok|FAIL)\t/{if (/^FAIL/) printf "%s%s\n", said[""], $0; split("", said); name = ""; next}
       !/^=== /{said[name] = substr(said[name] $0 "\n", length(said[name]) > 20000 ? 10000 : 1)}' "$log" | cut -c1-2000 | tail -n 400
fi
# The slow variants measure more than pass or fail: what they print is kept.
if [ -n "${WEIR_E2E:-}" ]; then
  {
    printf '# The slow end-to-end runs\n\nWritten by `make e2e`: kills, soaks and every other test with WEIR_E2E=1.\n\n'
    printf -- '- date: %s\n- commit: %s\n- machine: %s cores, kernel %s\n- result: %s\n\n```\n' \
      "$(date -u +%Y-%m-%d)" "$(git rev-parse --short HEAD)" "$(nproc)" "$(uname -r)" "$([ $status = 0 ] && echo passed || echo FAILED)"
    grep -E '^(ok|FAIL)\s|^\s+\S+_test\.go:[0-9]+: ' "$log" | sed -E 's/^\s+/  /; s/\s+\(cached\)//; s#/tmp/[^ :]*#DIR#g'
    printf '```\n'
  } >docs/e2e.md
fi
exit $status
