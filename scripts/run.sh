#!/usr/bin/env bash
# `make run`: a NATS server under a prefix of its own, the console, then the reference desk. The server stays up
# afterwards; the console ends with the desk. The settings of the user are left alone; what connects to this server
# reads those of the prefix.
set -euo pipefail
prefix=$1 port=$2 monitor_port=$3 console_port=$4
shift 4

mts1b-deploy install --profile minimal --include nats --no-user-config \
	--prefix "$prefix" --port "$port" --monitor-port "$monitor_port" >&2
export MTS1B_CONFIG="$prefix/etc/mts1b.toml"
echo "in another terminal: export MTS1B_CONFIG=$(printf %q "$MTS1B_CONFIG"), and commands find this server" >&2
# the desk holds the other end of its standard input, so that it ends whenever the desk does
exec {console}> >(MTS1B_AUDIT_DIR="$prefix/audit" exec mts1b console serve --until-eof --listen "127.0.0.1:$console_port" >&2)
exec mts1b-desk run "$@"
