#!/usr/bin/env bash
# `make run`: a NATS server under a prefix of its own, then the reference desk on it. The server stays up afterwards.
set -euo pipefail
prefix=$1 port=$2 monitor_port=$3
shift 3

mts1b-deploy install --profile minimal --include nats --prefix "$prefix" --port "$port" --monitor-port "$monitor_port"
export MTS1B_CONFIG="$prefix/etc/mts1b.toml"
exec mts1b-desk run "$@"
