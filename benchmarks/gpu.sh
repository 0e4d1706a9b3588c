#!/usr/bin/env bash
# Measure a GPU in ten minutes (docs/performance.md), on a machine without package registries:
# what its Python lacks comes from wheels/, which `make wheels` fills where there is a network.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
if [ -d wheels ]; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$packages" wheels/*.whl
fi
export PYTHONPATH="$PWD/src:$packages" CUBLAS_WORKSPACE_CONFIG=:4096:8
# What the tests compare with is computed on the CPU, and tests/conftest.py would take one thread.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"
python3 benchmarks/gpu.py "$@"
