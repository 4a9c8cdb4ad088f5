#!/bin/sh
# Resolve every dependency anew and write the locks: exact versions with hashes, no addresses. Needs `uv` on PATH.
#   requirements.txt        what homing runs on
#   requirements-dev.txt    what its tests and tools need beside that, with the backend that `pip install -e .` builds with
#   tools/requirements-proto.txt   the older protobuf compiler, for an environment of its own
#   tools/requirements-fuzz.txt    what `make fuzz` needs beside the others
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "make lock needs uv: python3 -m pip install uv" >&2; exit 1; }
lock() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" "$@"
}
lock pyproject.toml --output-file requirements.txt
# pyright[nodejs]: the type checker's own runtime as a wheel, so that the machine needs none.
printf '%s\n' 'hatchling>=1.27' editables 'pyright[nodejs]' |
    lock - --group pyproject.toml:dev --constraints requirements.txt --output-file requirements-dev.txt
printf '%s\n' 'grpcio-tools==1.75.1' 'protobuf==6.32.1' | lock - --output-file tools/requirements-proto.txt
# The newer atheris has no wheel for Python 3.11.
printf '%s\n' "atheris==3.0.0; python_version < '3.12'" "atheris==3.1.0; python_version >= '3.12'" 'coverage>=7' |
    lock - --output-file tools/requirements-fuzz.txt
