#!/usr/bin/env bash
# Prints the directory that holds `prometheus` and `promtool`: those on the PATH, else Debian's package, unpacked under
# .tools (nothing is installed, no service is started). Needs apt-get and the network the first time.
set -euo pipefail
if found=$(command -v prometheus) && command -v promtool >/dev/null; then
  dirname "$found"
  exit
fi
root=$(cd "$(dirname "$0")/.." && pwd)
into="$root/.tools/prometheus"
if [ ! -x "$into/usr/bin/promtool" ]; then
  remedy="install it: apt-get install prometheus"
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "there is no prometheus, and no apt-get to fetch it: $remedy" >&2; exit 1; }
  mkdir -p "$root/.tools"
  exec 9>"$root/.tools/prometheus.lock"
  flock 9 # several processes of pytest may ask at once: one fetches it, the others find it below
fi
if [ ! -x "$into/usr/bin/promtool" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  as_root=$([ "$(id -u)" = 0 ] || echo "sudo -n")
  if ! apt-cache show prometheus >/dev/null 2>&1; then
    $as_root apt-get update -qq >&2 || { echo "apt-get update failed; $remedy" >&2; exit 1; }
  fi
  (cd "$work" && { apt-get download -qq prometheus || { $as_root apt-get update -qq && apt-get download -qq prometheus; }; }) >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; echo "prometheus could not be fetched; $remedy" >&2; exit 1; }
  rm -rf "$into" "$into.new"
  dpkg -x "$work"/prometheus_*.deb "$into.new"
  mv "$into.new" "$into" # at once and complete: who does not come in here is looking at it already
fi
echo "$into/usr/bin"
