#!/usr/bin/env bash
# Everything that has a goal on a GPU (docs/performance.md), in nine minutes at most:
#
#     scripts/gpu_table.sh DIR [--minutes=9] [--torch-reference=CHECKOUT] [--tiny]
#
# DIR gets lines.jsonl, a line per figure as soon as it is there, and table.md. `--tiny` tries all of it with small
# networks, on a CPU too. PYTHON names another interpreter than python3.
set -eu
directory=${1:?name a directory for the results}
shift
export PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$(dirname "$0")/benchmark.py" gpu_table --minutes=9 --output="$directory" "$@"
