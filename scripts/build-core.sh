#!/usr/bin/env bash
# Builds the compiled core (packages/mts1b-wire) into .venv. Without a Rust toolchain that is new enough, without its
# registry, or when the build fails, one line says so and pure Python stays at work: exit 0, unless MTS1B_CORE=required.
# .venv/.without-core then says that the next `make setup` is to try again.
# usage: build-core.sh UV PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$1 python=$2
package=packages/mts1b-wire
log=var/build-core.log
mark=${python%/bin/*}/.without-core
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$package/Cargo.toml")

without() {
	touch "$mark"
	echo "the compiled core is not built, pure Python is at work: $1" >&2
	[[ ${MTS1B_CORE:-} != required ]] || { echo "MTS1B_CORE=required: that is an error" >&2; exit 1; }
	exit 0
}

[[ ${MTS1B_PURE:-} != 1 ]] || without "MTS1B_PURE=1"
command -v cargo >/dev/null || without "there is no Rust toolchain (rustup.rs)"
found=$(rustc --version 2>/dev/null | awk '{print $2}') || without "rustc does not run"
[[ $(printf '%s\n' "$needed" "$found" | sort -V | head -1) == "$needed" ]] ||
	without "Rust $found is too old, $needed is needed (rustup update)"
mkdir -p var
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/$package/target} PYO3_PYTHON=$PWD/.venv/bin/python \
	"$uv" pip install --python "$python" --no-deps --quiet --reinstall-package mts1b-wire "./$package" >"$log" 2>&1 ||
	without "the build failed, see $log"
.venv/bin/python -c 'import mts1b_wire' 2>>"$log" || without "what was built cannot be loaded, see $log"
rm -f "$mark"
