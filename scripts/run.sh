#!/usr/bin/env bash
# `make run`: a NATS server under a prefix of its own, then the reference desk on it. The server stays up afterwards.
# The settings of the user are left alone; what connects to this server reads those of the prefix.
set -euo pipefail
prefix=$1 port=$2 monitor_port=$3
shift 3

mts1b-deploy install --profile minimal --include nats --no-user-config \
	--prefix "$prefix" --port "$port" --monitor-port "$monitor_port" >&2
export MTS1B_CONFIG="$prefix/etc/mts1b.toml"
echo "in another terminal: export MTS1B_CONFIG=$(printf %q "$MTS1B_CONFIG"), and commands find this server" >&2
exec mts1b-desk run "$@"
