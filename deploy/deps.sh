#!/usr/bin/env bash
# Installs what the tests need beyond Go, once: a JRE and Maven with Apache
# Kafka's jars, npm for the ClickHouse engine, nginx as a server to watch.
# Idempotent and quiet; CACHE is where downloads are kept.
set -eu -o pipefail
cache=$1
here=$(cd "$(dirname "$0")/.." && pwd)

packages=()
command -v java >/dev/null || packages+=(default-jre-headless)
[ -e "$cache/kafka-4.1.0/.complete" ] || command -v mvn >/dev/null || packages+=(maven)
[ -e "$cache/chdb-26.7.3-stable.1/libchdb.so" ] || command -v npm >/dev/null || packages+=(npm)
command -v nginx >/dev/null || packages+=(nginx-light)
command -v python3 >/dev/null || packages+=(python3)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make deps: please install: ${packages[*]} (on Debian: sudo apt-get install ${packages[*]})" >&2
    exit 1
  fi
  echo "make deps: installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null
  # A server package must not start itself on a port that someone may use.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
    trap 'rm -f $policy' EXIT
  fi
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# Optional: the engine's bytes are also compared on an emulated arm64.
if ! command -v qemu-aarch64 >/dev/null && [ "$(uname -m)" != aarch64 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-user >/dev/null 2>&1 ||
    echo "make deps: qemu-user could not be installed: the arm64 run will be skipped" >&2
fi

libs=$cache/kafka-4.1.0
if [ ! -e "$libs/.complete" ]; then
  echo "make deps: fetching Apache Kafka 4.1.0 (43 MB)"
  mkdir -p "$libs"
  mvn -q -B -f "$here/stream/broker/kafkatest/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" -DincludeScope=runtime
  touch "$libs/.complete"
fi
