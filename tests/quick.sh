#!/bin/sh
# Every chapter's quick preset runs on the embedded text, says nothing on stderr, leaves CSVs of a known form, and gives the
# same bytes with 1, 2 and 3 threads; another seed gives others. Files that hold times (timing.csv, *_seconds.csv) may differ.
# Chapter 08 has such a preset for each of its tasks.
set -u
MODE=${MODE:-release}
case $MODE in release) bin=build ;; *) bin=build/$MODE ;; esac
unset QUIJOTE
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
others="2 3"                               # numbers of threads that are compared with one thread; under the sanitizers, which
[ "$MODE" != debug ] || others=            # take ten times as long, each preset runs once, with two threads

ok() { if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "quick: $1"; fi; }

# same_files A B: the files of A but those of times are in B, byte for byte
same_files() {
    for file in "$1"/*; do
        case $file in */timing.csv | *_seconds.csv) continue ;; esac
        cmp -s "$file" "$2/$(basename "$file")" || { echo "$file differs"; return 1; }
    done
}

for folder in chapters/[0-9]*; do
    case $folder in
    */08_transformer_mask) for task in series words gpt bert; do echo "${folder##*/}:$task"; done ;;
    *) echo "${folder##*/}" ;;
    esac
done >"$work/names"

# run NAME ARGUMENT …
run() {
    program=$bin/${1%:*}
    case $1 in *:*) task="--task ${1#*:}" ;; *) task= ;; esac
    shift
    # shellcheck disable=SC2086
    "$program" $task --preset quick "$@"
}

while read -r name; do
    for threads in 1 $others; do
        run "$name" --threads $([ "$others" ] && echo $threads || echo 2) --out "$work/$name.$threads" >"$work/said" 2>"$work/complaint"
        ok "$name, $threads threads: exit status $?" $?
        [ ! -s "$work/complaint" ]
        ok "$name, $threads threads, on stderr: $(head -n 3 "$work/complaint")" $?
    done
    for threads in $others; do
        same_files "$work/$name.1" "$work/$name.$threads" >"$work/differs"
        ok "$name, 1 and $threads threads: $(cat "$work/differs")" $?
    done
    if [ "$others" ]; then
        run "$name" --seed 2 --out "$work/$name.other" >/dev/null 2>&1
        ! cmp -s "$work/$name.1/curve.csv" "$work/$name.other/curve.csv"
        ok "$name: seed 2 gives the curve of seed 1" $?
    fi
    header=$(head -n 1 "$work/$name.1/curve.csv")
    [ "$header" = "model,seed,epoch,step,tokens,split,loss,perplexity,grad_norm,learning_rate" ]
    ok "$name: curve.csv begins with $header" $?
    for csv in "$work/$name.1"/*.csv; do
        awk -F, '{ gsub(/"[^"]*"/, "text") } NR == 1 { n = NF } NF != n { bad = 1 } END { exit bad || NR < 2 }' "$csv"
        ok "$name: $(basename "$csv") has rows of another number of cells than its header, or none" $?
    done
done <"$work/names"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
