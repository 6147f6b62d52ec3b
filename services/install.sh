#!/bin/sh
# What tests and benches need from the system: Chromium, PostgreSQL, Redis, Apache Kafka. Installed where the package managers can,
# else tests say they are skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing=""
command -v chromium >/dev/null 2>&1 || missing="chromium"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v java >/dev/null 2>&1 || missing="$missing default-jre-headless"
command -v mvn >/dev/null 2>&1 || missing="$missing maven"
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get: tests that need$missing will be skipped"
  elif [ "$(id -u)" != 0 ]; then
    echo "not root: tests that need $missing will be skipped"
  else
    # Its programs are wanted, not servers that start.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
    apt-get update -qq
    # shellcheck disable=SC2086
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  fi
fi

jars() {  # pom, folder, whether what it needs comes along
  folder="${XDG_CACHE_HOME:-$HOME/.cache}/flightworthy/$2"
  [ -e "$folder/installed" ] && return
  if ! command -v mvn >/dev/null 2>&1; then
    echo "no Maven: tests that need $2 will be skipped"
    return
  fi
  mkdir -p "$folder"
  mvn -q -B -f "$here/$1" dependency:copy-dependencies -DincludeScope=runtime "-DincludeTransitive=$3" "-DoutputDirectory=$folder" \
    >/dev/null
  touch "$folder/installed"
}
jars kafka.pom.xml kafka-4.3.1 true
jars flink.pom.xml flink-connector-5.0.0-2.2 false
