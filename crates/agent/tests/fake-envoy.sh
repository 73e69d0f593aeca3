#!/bin/sh
# Stands in for Envoy in tests: reports a version, or does what the lines "# do: <commands>" of its configuration say.
if [ "$1" = --version ]; then
    echo "envoy  version: 0000/1.40.0/Clean/RELEASE/BoringSSL"
    exit 0
fi
eval "$(sed -n 's/^# do: //p' "$2")"
