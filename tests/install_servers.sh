#!/bin/sh
# What the tests need from the system: Chromium, PostgreSQL. Installed where the package manager can, else tests say they are skipped.
missing=""
command -v chromium >/dev/null 2>&1 || missing="chromium"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get: tests that need$missing will be skipped"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "not root: tests that need $missing will be skipped"; exit 0; }
mkdir -p /etc/postgresql-common && [ -e /etc/postgresql-common/createcluster.conf ] || \
  echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf  # its programs are wanted, not a server that starts
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
