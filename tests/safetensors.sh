#!/bin/sh
# Checkpoints and the reference library of the format (the Python package safetensors): each reads what the other wrote,
# number for number, and a chapter's model opens there, too.
#
# Uses the first Python that has safetensors and numpy: $PYTHON, python3, /usr/bin/python3, build/venv-safetensors. Where
# none has, that last one is made; where it cannot be (no network), the tests are skipped.

cd "$(dirname "$0")/.." || exit 1
case ${MODE:=release} in release) bin=$PWD/build ;; *) bin=$PWD/build/$MODE ;; esac
check=$PWD/tests/safetensors_check.py
venv=build/venv-safetensors
passed=0 failed=0

has_safetensors() {
    [ -n "$1" ] && "$1" -c 'import numpy, safetensors.numpy' >/dev/null 2>&1
}

find_python() {
    for python in "${PYTHON:-}" python3 /usr/bin/python3 "$venv/bin/python"; do
        has_safetensors "$python" && return 0
    done
    return 1
}

# A folder that an attempt without network left behind would be in the way of the next one.
make_environment() {
    for python in "${PYTHON:-}" python3 /usr/bin/python3; do
        [ -n "$python" ] || continue
        "$python" -m venv "$venv" >/dev/null 2>&1 || continue
        "$venv/bin/python" -m pip install --quiet --retries 1 --timeout 5 safetensors numpy >/dev/null 2>&1
        python=$venv/bin/python
        has_safetensors "$python" && return 0
        rm -rf "$venv"
        return 1
    done
    return 1
}

expect() {
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "safetensors: $what: failed: $*"; fi
}

if ! find_python && ! make_environment; then
    echo "skipped: no Python with safetensors and numpy, and none could be installed"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
unset QUIJOTE
cd "$tmp" || exit 1

expect "C writes" "$bin/test_checkpoint" write ours
expect "the library reads it" "$python" "$check" read ours
expect "the library writes" "$python" "$check" write theirs
expect "C reads it" "$bin/test_checkpoint" read theirs >log
sed '/ passed, /d' log

# The comparison can fail: here the last byte of the data is another one.
wrong_is_noticed() {
    ! "$@" read wrong >/dev/null
}
dd if=ours of=wrong bs=1 count=$(($(wc -c <ours) - 1)) 2>/dev/null
printf '\001' >>wrong
expect "the library's side notices a changed number" wrong_is_noticed "$python" "$check"
expect "our side does, too" wrong_is_noticed "$bin/test_checkpoint"

chapter=$bin/05_char_lm_quijote
if [ -x "$chapter" ]; then
    expect "a chapter runs" "$chapter" --preset quick --steps 2 --length 5 --out out >log
    expect "its model opens in the library" "$python" -c '
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="numpy") as f:
    meta, shapes = f.metadata(), {name: f.get_tensor(name).shape for name in f.keys()}
V, D, H = len(meta["vocab"]), int(meta["embedding"]), int(meta["hidden"])
recurrent = [shape for name, shape in shapes.items() if name.endswith("Wh")]
assert shapes["embedding"] == (V, D) and recurrent and all(s[0] == H for s in recurrent), (V, D, H, shapes)
' out/model.safetensors
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
