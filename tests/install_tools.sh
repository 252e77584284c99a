#!/bin/sh
# Installs what the tests drive besides Python: a browser and curl, and mscgen where there is one.
# Does nothing when they are here.
set -eu

browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo"
fi
export DEBIAN_FRONTEND=noninteractive

if ! browser >/dev/null || ! command -v curl >/dev/null; then
    if command -v apt-get >/dev/null; then
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
fi

# Without it the charts are not held against the program that is to draw them; nobody is asked for
# a password for that.
if ! command -v mscgen >/dev/null; then
    if [ -n "$as_root" ]; then
        as_root="sudo -n"
    fi
    if command -v apt-get >/dev/null; then
        $as_root apt-get update -q && $as_root apt-get install -q -y mscgen
    elif command -v dnf >/dev/null; then
        $as_root dnf install -q -y mscgen
    elif command -v brew >/dev/null; then
        brew install --quiet mscgen
    fi || echo "mscgen is not here: the tests that need it are skipped."
fi
