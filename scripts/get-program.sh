#!/usr/bin/env bash
# get-program.sh PACKAGE PROGRAM...: prints the directory that holds the programs: the one on the PATH, else that of
# Debian's package, unpacked under .tools (nothing is installed, no service is started). Needs apt-get and the network
# the first time.
set -euo pipefail
package=$1
shift
missing=
for program in "$@"; do command -v "$program" >/dev/null || missing=$program; done
if [ -z "$missing" ]; then
  dirname "$(command -v "$1")"
  exit
fi
root=$(cd "$(dirname "$0")/.." && pwd)
into="$root/.tools/$package"
if [ ! -x "$into/usr/bin/$missing" ]; then
  remedy="install it: apt-get install $package"
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "there is no $missing, and no apt-get to fetch it: $remedy" >&2; exit 1; }
  mkdir -p "$root/.tools"
  exec 9>"$root/.tools/$package.lock"
  flock 9 # several processes of pytest may ask at once: one fetches it, the others find it below
fi
if [ ! -x "$into/usr/bin/$missing" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  as_root=$([ "$(id -u)" = 0 ] || echo "sudo -n")
  if ! apt-cache show "$package" >/dev/null 2>&1; then
    $as_root apt-get update -qq >&2 || { echo "apt-get update failed; $remedy" >&2; exit 1; }
  fi
  (cd "$work" && { apt-get download -qq "$package" || { $as_root apt-get update -qq && apt-get download -qq "$package"; }; }) >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; echo "$package could not be fetched; $remedy" >&2; exit 1; }
  rm -rf "$into" "$into.new"
  dpkg -x "$work/${package}"_*.deb "$into.new"
  mv "$into.new" "$into" # at once and complete: who does not come in here is looking at it already
fi
echo "$into/usr/bin"
