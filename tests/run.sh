#!/bin/sh
# Runs all tests: every tests/test_*.c as it was built in this mode (test_gradients in double precision only, those of
# cells, attention and chapters in both), and every other script beside this one, as many at once as there are processors,
# the longest first. `make test` calls it with MODE and CC in the environment, when all is built.
#
# A test says "N passed, N failed" or "N passed, N failed, N skipped" on a line of its own. The sum of these is the last
# line here. A test that does not say it, or says that none failed and ends with another status than 0, has failed.

cd "$(dirname "$0")/.." || exit 1
MODE=${MODE:-release}
CC=${CC:-cc}
export MODE CC
case $MODE in release) bin=build ;; *) bin=build/$MODE ;; esac

# The sums of the counting lines in a log: "PASSED FAILED SKIPPED LINES"
count() {
    LC_ALL=C sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$1" |
        awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0, NR }'
}

# one TEST: runs it, prints a line about it, and leaves its counts in $RESULTS/TEST.counts
one() {
    test=$1 log=$RESULTS/$1.log begun=$(date +%s)
    case $test in
    *.sh)     sh "tests/$test" ;;
    *.double) "build/double/${test%.double}" ;;
    *)        "$bin/$test" ;;
    esac >"$log" 2>&1 </dev/null
    status=$?
    # shellcheck disable=SC2046
    set -- $(count "$log")
    if [ "$4" -eq 0 ] || { [ "$2" -eq 0 ] && [ $status -ne 0 ]; }; then
        echo "exit status $status, and no failure was counted" >>"$log"
        set -- "$1" $(($2 + 1)) "$3"
    fi
    echo "$1 $2 $3" >"$RESULTS/$test.counts"
    {
        printf '%-24s %5d passed %4d failed %3d skipped %4d s\n' "$test" "$1" "$2" "$3" $(($(date +%s) - begun))
        if [ "$2" -gt 0 ]; then sed 's/^/    /' "$log"; else sed -n 's/^skipped:/    skipped:/p' "$log"; fi
    } >"$RESULTS/$test.said"
    cat "$RESULTS/$test.said"
}

names() {
    for script in tests/repro.sh tests/cli.sh tests/quick.sh tests/*.sh; do
        case $script in tests/run.sh) ;; *) basename "$script" ;; esac
    done
    for source in tests/test_*.c; do
        name=$(basename "$source" .c)
        case $name in
        test_gradients) echo "$name.double" ;;
        test_cells | test_attention | test_chapter*) printf '%s\n' "$name" "$name.double" ;;
        *) echo "$name" ;;
        esac
    done
}

if [ $# -gt 0 ]; then
    one "$1"
    exit 0
fi
RESULTS=$(mktemp -d) || exit 1
export RESULTS
trap 'rm -rf "$RESULTS"' EXIT
trap 'exit 1' HUP INT TERM
names | awk '!seen[$0]++' >"$RESULTS/names"
xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh tests/run.sh <"$RESULTS/names"

# A test that did not come to its end has left no counts, and counts as a failure.
while read -r test; do cat "$RESULTS/$test.counts" 2>/dev/null || echo 0 1 0; done <"$RESULTS/names" |
    awk '{ p += $1; f += $2; s += $3 }
         END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0 }'
