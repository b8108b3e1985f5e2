#!/usr/bin/env bash
# Prints the directory that holds `prometheus` and `promtool`.
exec "$(dirname "$0")/get-program.sh" prometheus prometheus promtool
