#!/usr/bin/env bash
# `make test-python`: the tests with one other version of Python, when it is on this machine. In CI it must be there: a
# job that tests nothing would be green.
set -euo pipefail
uv=$1 version=$2 workers=$3
shift 3

python=""
for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/"bin/python$version"; do
	if "$candidate" -c '' 2>/dev/null; then python=$(command -v "$candidate") && break; fi
done
if [ -z "$python" ]; then
	if [ -n "${CI:-}" ]; then
		echo "Python $version is not on this machine, and CI is to test with it" >&2
		exit 1
	fi
	echo "Python $version is not on this machine: left out" >&2
	exit 0
fi
echo "Python $("$python" -c 'import platform; print(platform.python_version())')" >&2
env=$PWD/var/python-$version
UV_PROJECT_ENVIRONMENT=$env "$uv" sync --locked --all-packages --all-extras --python "$python" --quiet
export PATH="$env/bin:$PATH"
unset MTS1B_CORE
chosen=()
if [ "$(id -u)" != 0 ]; then chosen=(-m "not privileged"); fi
exec pytest --workers "$workers" -o verbosity_test_cases=-1 "${chosen[@]}" "$@"
