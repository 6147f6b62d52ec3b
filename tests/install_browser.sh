#!/bin/sh
# The browser tests need Chromium; install it where the package manager can, else they say that they are skipped.
command -v chromium >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get: browser tests will be skipped"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "not root: browser tests will be skipped"; exit 0; }
apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
