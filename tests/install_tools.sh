#!/bin/sh
# Install the tools that the tests drive: Debian packages and a MinIO built with Go, as root; otherwise say how.
# With --path: print the folder that holds what was built here.
set -eu

cache="${XDG_CACHE_HOME:-$HOME/.cache}/gantry/bin"
if [ "${1:-}" = "--path" ]; then
    echo "$cache"
    exit 0
fi

# The community release of 2025-09-07, by its commit: the tags themselves are not Go versions.
minio_release="v0.0.0-20250907161309-07c3a429bfed"
packages=""
want() { # program package
    command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
want storescu dcmtk
want redis-server redis-server
want haproxy haproxy
want chromium chromium
want dciodvfy dicom3tools
want gdcmconv libgdcm-tools

if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing$packages"
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
    else
        echo "some tests need tools that are absent: apt-get install$packages"
    fi
fi

if ! command -v minio >/dev/null 2>&1 && [ ! -x "$cache/minio" ]; then
    if command -v go >/dev/null 2>&1; then
        echo "building MinIO $minio_release (some minutes, once)"
        mkdir -p "$cache"
        GOBIN="$cache" go install "github.com/minio/minio@$minio_release"
    else
        echo "the S3 tests need MinIO: go install github.com/minio/minio@$minio_release, or set GANTRY_TEST_S3_ENDPOINT"
    fi
fi
