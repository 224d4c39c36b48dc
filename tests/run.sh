#!/bin/sh
# Runs all tests: every tests/test_*.c as it was built in this mode (test_gradients in double precision only, those of
# cells, attention and chapters in both), then every other script beside this one. `make test` calls it with MODE and CC in
# the environment, when all is built.
#
# A test says "N passed, N failed" or "N passed, N failed, N skipped" on a line of its own. The sum of these is the last
# line here. A test that does not say it, or says that none failed and ends with another status than 0, has failed.

cd "$(dirname "$0")/.." || exit 1
MODE=${MODE:-release}
CC=${CC:-cc}
export MODE CC
case $MODE in release) bin=build ;; *) bin=build/$MODE ;; esac
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0

# The sums of the counting lines in the log: "PASSED FAILED SKIPPED LINES"
count() {
    LC_ALL=C sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$log" |
        awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0, NR }'
}

# run NAME COMMAND …
run() {
    name=$1
    shift
    begun=$(date +%s)
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    seconds=$(($(date +%s) - begun))
    # shellcheck disable=SC2046
    set -- $(count)
    if [ "$4" -eq 0 ] || { [ "$2" -eq 0 ] && [ $status -ne 0 ]; }; then
        echo "exit status $status, and no failure was counted" >>"$log"
        set -- "$1" $(($2 + 1)) "$3"
    fi
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    printf '%-24s %5d passed %4d failed %3d skipped %4d s\n' "$name" "$1" "$2" "$3" $seconds
    if [ "$2" -gt 0 ]; then sed 's/^/    /' "$log"; else sed -n 's/^skipped:/    skipped:/p' "$log"; fi
}

for source in tests/test_*.c; do
    name=$(basename "$source" .c)
    case $name in
    test_gradients) run "$name, double" build/double/test_gradients ;;
    test_cells | test_attention | test_chapter*)
        run "$name" "$bin/$name"
        run "$name, double" "build/double/$name" ;;
    *) run "$name" "$bin/$name" ;;
    esac
done
for script in tests/*.sh; do
    case $script in tests/run.sh) ;; *) run "$(basename "$script")" sh "$script" ;; esac
done

tally="$passed passed, $failed failed"
[ $skipped -gt 0 ] && tally="$tally, $skipped skipped"
echo "$tally"
[ $failed -eq 0 ]
