#!/usr/bin/env bash
# What a release does, on this machine: builds every package (an sdist, and the wheel from it), installs the wheels into
# an empty environment, and runs the two commands from there. Nothing is left but the packages in the given folder.
set -euo pipefail
uv=$1 dist=$2
work=$(mktemp -d)
env=$work/env home=$work/home
cleanup() {
	HOME=$home "$env/bin/mts1b-deploy" uninstall --purge >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap cleanup EXIT
mkdir -p "$dist" "$home"
rm -f "$dist"/*.whl "$dist"/*.tar.gz

echo "building into $dist" >&2
"$uv" build --all-packages --out-dir "$dist" --quiet
"$uv" venv --quiet --python "${PYTHON:-python3}" "$env"
echo "installing into an empty environment" >&2
"$uv" pip install --quiet --python "$env/bin/python" --find-links "$dist" "$dist"/*.whl
"$uv" pip check --quiet --python "$env/bin/python"

# From here on only what was installed: no checkout, no settings of this user.
cd "$work"
unset PYTHONPATH XDG_CONFIG_HOME XDG_DATA_HOME
for name in $(compgen -e MTS1B_ || true); do unset "$name"; done
export HOME=$home
read -r port monitor < <("$env/bin/python" -c 'from mts1b_platform.testing.ports import free_ports; print(*free_ports(2))' 2>/dev/null ||
	"$env/bin/python" -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in "ab"]; print(*(x.getsockname()[1] for x in s))')
for module in mts1b_platform mts1b_deploy mts1b_desk; do "$env/bin/python" -m "$module" --version; done
"$env/bin/mts1b" console check >/dev/null
"$env/bin/mts1b-deploy" install --profile minimal --include nats --port "$port" --monitor-port "$monitor"
"$env/bin/mts1b-desk" run --quotes 300 --speed max --json >"$work/ledger.json"
"$env/bin/python" -c 'import json, sys; assert json.load(open(sys.argv[1]))["reconciled"], "the books do not agree"' "$work/ledger.json"
"$env/bin/mts1b-deploy" uninstall --purge
echo "released as it is, $(ls "$dist"/*.whl | wc -l) packages of $("$env/bin/mts1b" --version) would work" >&2
