#!/usr/bin/env bash
# An environment with Loupe and its peer, in benchmarks/peers/.venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 -m venv benchmarks/peers/.venv
benchmarks/peers/.venv/bin/pip install --quiet -r requirements.txt -r benchmarks/peers/requirements.txt
