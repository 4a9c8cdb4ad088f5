#!/bin/sh
# Regenerate the protobuf modules with a pinned, older compiler in an environment of its own, so that what is committed
# runs on any protobuf runtime from 6.31 on. `--check` fails when the result differs from what is committed.
set -eu
cd "$(dirname "$0")/.."
TOOLS=${HOMING_PROTO_ENV:-.homing-proto}
if [ ! -x "$TOOLS/bin/python" ]; then
    python3 -m venv "$TOOLS"
    "$TOOLS/bin/pip" install --quiet "grpcio-tools==1.75.1" "protobuf==6.32.1"
fi
OUT=sdk
if [ "${1:-}" = "--check" ]; then OUT=$(mktemp -d); fi
"$TOOLS/bin/python" -m grpc_tools.protoc -Iproto --python_out="$OUT" --pyi_out="$OUT" \
    proto/homing/wire/v1/call.proto proto/homing/wire/v1/peer.proto proto/homing/v1/objects.proto
if [ "${1:-}" = "--check" ]; then
    for f in wire/v1/call_pb2 wire/v1/peer_pb2 v1/objects_pb2; do
        cmp "$OUT/homing/$f.py" "sdk/homing/$f.py" && cmp "$OUT/homing/$f.pyi" "sdk/homing/$f.pyi"
    done
    rm -rf "$OUT"
fi
