#!/usr/bin/env bash
# Installs what the tests need beyond Rust: a C compiler (for the crypto library) and, in target/python, an implementation
# of QUIC that is not ours. Run it once; it does nothing where everything is there. Debian and its children; elsewhere
# install a C compiler and Python 3 with venv first.
set -euo pipefail
cd "$(dirname "$0")/.."

AIOQUIC="aioquic==1.7.2"
VENV=target/python

install() {
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
    else
        echo "please install: $*" >&2
        exit 1
    fi
}

command -v cc >/dev/null || install build-essential
command -v python3 >/dev/null || install python3
if ! "$VENV/bin/python3" -c 'import aioquic' 2>/dev/null; then
    mkdir -p target
    python3 -m venv --clear "$VENV" 2>/dev/null || { install python3-venv && python3 -m venv --clear "$VENV"; }
    "$VENV/bin/python3" -m pip install --quiet --disable-pip-version-check "$AIOQUIC"
fi
