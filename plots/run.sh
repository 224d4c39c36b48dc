#!/bin/sh
# Draw the plots:  plots/run.sh [--optional] [plot.py arguments ...]
#
# Uses the first Python that has matplotlib: $PYTHON, python3, /usr/bin/python3,
# build/venv/bin/python.  Where none has it, a private environment is made in
# build/venv from plots/requirements.txt.
#
# With --optional (as the chapters call it) nothing is installed and the exit
# status is always 0: no run of a chapter fails for want of a plot.

here=$(cd "$(dirname "$0")" && pwd) || exit 1
venv=$here/../build/venv

optional=no
if [ "${1:-}" = --optional ]; then
    optional=yes
    shift
fi

# Importing a submodule proves a whole installation: a stray folder named
# "matplotlib" would satisfy a plain "import matplotlib".
has_matplotlib() {
    [ -n "$1" ] && "$1" -c 'import matplotlib.figure' >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" python3 /usr/bin/python3 "$venv/bin/python"; do
        if has_matplotlib "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

make_environment() {
    for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
        [ -n "$candidate" ] || continue
        "$candidate" -m venv "$venv" >/dev/null 2>&1 || continue
        "$venv/bin/python" -m pip install --quiet --retries 1 \
            -r "$here/requirements.txt" >/dev/null 2>&1
        if has_matplotlib "$venv/bin/python"; then
            python=$venv/bin/python
            return 0
        fi
    done
    return 1
}

if ! find_python && { [ "$optional" = yes ] || ! make_environment; }; then
    echo "plots: no Python with matplotlib found; install it (Debian: apt install python3-matplotlib, or: pip install matplotlib) and run 'make plots'" >&2
    [ "$optional" = yes ] && exit 0
    exit 1
fi

if [ "$optional" = yes ]; then
    "$python" "$here/plot.py" "$@"
    exit 0
fi
exec "$python" "$here/plot.py" "$@"
