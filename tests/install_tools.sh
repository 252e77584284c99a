#!/bin/sh
# Installs what the tests drive besides Python: a browser and curl. Does nothing when they are here.
set -eu

browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

if browser >/dev/null && command -v curl >/dev/null; then
    exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo"
fi
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -q
    $as_root apt-get install -q -y chromium curl
elif command -v dnf >/dev/null; then
    $as_root dnf install -q -y chromium curl
elif command -v brew >/dev/null; then
    brew install --quiet chromium curl
else
    echo "Install Chromium and curl, then try again." >&2
    exit 1
fi
