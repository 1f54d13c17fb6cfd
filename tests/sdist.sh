#!/bin/sh
# tests/sdist.sh ARCHIVE PYTHON: builds the source package where nothing else is, installs it into an empty environment
# and lets it run. What its build needs comes from requirements/dev.txt, like everywhere.
set -eu
archive=$(realpath "$1")
python=$(realpath -s "$2")
here=$(dirname "$(realpath "$0")")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$python" -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$here/../requirements/dev.txt"
# PATH: the build finds maturin there. VIRTUAL_ENV would point it elsewhere.
env -u VIRTUAL_ENV -u PYO3_PYTHON PATH="$folder/venv/bin:$PATH" \
  venv/bin/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps "$archive"
venv/bin/holdfast demo --requests 100 --threads 2 >/dev/null
tar xzf "$archive" --strip-components 1 --one-top-level=source
(cd source && ../venv/bin/python -m pytest -q tests/test_reuse.py tests/test_limits.py | tail -n 1)
venv/bin/python -c 'import holdfast; print("the source package builds and runs:", holdfast.__version__)'
