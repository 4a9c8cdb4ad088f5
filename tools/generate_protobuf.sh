#!/bin/sh
# Generate the protobuf modules with a pinned, older compiler in an environment of its own, so that what is committed
# runs on any protobuf runtime from 6.31 on. `--check` fails when the result differs from what is committed.
set -eu
cd "$(dirname "$0")/.."
TOOLS=${HOMING_PROTO_ENV:-.homing-proto}
PYTHON=.venv/bin/python
[ -x "$PYTHON" ] || PYTHON=python3
if [ ! -x "$TOOLS/bin/protoc-ready" ]; then
    "$PYTHON" -m venv "$TOOLS"
    "$TOOLS/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r tools/requirements-proto.txt
    # Made last: an installation that broke off is done again.
    install -m 755 /dev/null "$TOOLS/bin/protoc-ready"
fi
OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT
mkdir "$OUT/sdk" "$OUT/placement"
"$TOOLS/bin/python" -m grpc_tools.protoc -Iproto --python_out="$OUT/sdk" --pyi_out="$OUT/sdk" \
    proto/homing/wire/v1/call.proto proto/homing/wire/v1/peer.proto proto/homing/v1/objects.proto
# The part of etcd's API that is used: its folder is given the name of the package that imports it.
"$TOOLS/bin/python" -m grpc_tools.protoc -Ihoming_placement/etcd=proto/etcd --python_out="$OUT/placement" \
    --pyi_out="$OUT/placement" homing_placement/etcd/api.proto
if [ "${1:-}" != "--check" ]; then
    cp -R "$OUT/sdk" "$OUT/placement" .
    exit
fi
(cd "$OUT" && find sdk placement -type f) | sort | {
    stale=0
    while read -r file; do
        cmp "$OUT/$file" "$file" || stale=1
    done
    [ "$stale" = 0 ] || { echo "generated code is not what proto/ says: make protobuf" >&2; exit 1; }
}
