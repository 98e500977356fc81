#!/bin/bash
# What pip puts beside OpenMM's wheel belongs into the environment's own lib and include: there lies conda's OpenMM.
set -euo pipefail
"$PYTHON" -m pip install . --no-deps --no-build-isolation -vv
cp -R "$SP_DIR/OpenMM.libs/lib/." "$PREFIX/lib/"
cp -R "$SP_DIR/OpenMM.libs/include/." "$PREFIX/include/"
rm -r "$SP_DIR/OpenMM.libs"
