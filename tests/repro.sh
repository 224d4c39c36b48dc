#!/bin/sh
# Same seed, same bytes: whatever a chapter writes, but for the times, is the same for any number of threads, compiler,
# optimization level and vector width; and another seed gives other bytes, so these tests can fail.
#
# A chapter comes in by the list below and a line each in `wide` and `small`. ONLY=04_gru tests that one. Chapter 08 comes in once
# for each task, as 08_transformer_mask:gpt.

cd "$(dirname "$0")/.." || exit 1
root=$PWD
case ${MODE:=release} in release) below=build ;; *) below=build/$MODE ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 1
unset QUIJOTE
# The copy is built with settings of its own, not with those that `make test` was called with.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES GNUMAKEFLAGS OPT
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "repro: $*"; }
skip() { skipped=$((skipped + 1)); echo "skipped: $*"; }

chapters=
for chapter in ${ONLY:-01_rnn_scratch 02_bptt_clip 03_lstm 04_gru 05_char_lm_quijote 06_seq2seq 07_attention \
    08_transformer_mask}; do
    set -- "$root/chapters/$chapter"/*.c
    if [ ! -e "$1" ]; then skip "$chapter: not written yet"
    elif [ "$chapter" = 08_transformer_mask ]; then
        for task in series words gpt bert; do chapters="$chapters $chapter:$task"; done
    else
        chapters="$chapters $chapter"
    fi
done

# run FOLDER [emulator] PROGRAM ARGUMENT …
run() {
    out=$1 emulator=
    rm -rf "$1"
    shift
    case $1 in emulator) emulator='qemu-aarch64 -L /usr/aarch64-linux-gnu' && shift ;; esac
    binary=${1%:*} task=
    case $1 in *:*) task="--task ${1##*:}" ;; esac
    shift
    # shellcheck disable=SC2086
    $emulator "$binary" $task --preset quick --out "$out" "$@" >"$tmp/log" 2>&1 ||
        fail "$binary $task $*: exit status $?: $(tail -n 3 "$tmp/log")"
}

# same A B WHAT: every file in A is in B, byte for byte, but for those of times and what says how long a thing took
same() {
    if [ ! -s "$1/curve.csv" ]; then fail "$3: no curve.csv"; fi
    for file in "$1"/*; do
        case $file in */timing.csv | *_seconds.csv) continue ;; esac
        if cmp -s "$file" "$2/${file##*/}"; then pass; else fail "$3: ${file##*/} has other bytes"; fi
    done
}

# Wide enough for the kernels to share their work out among threads.
wide() {
    case $1 in
    01*) set -- --hidden 160 --epochs 1 --batch 512 --train 1024 --test 512 ;;
    02*) set -- --hidden 160 --epochs 1 --batch 64 --reports 1 --lags 5 --estimates 2 --steps 2 ;;
    03*) set -- --hidden 160 --epochs 1 --train 512 --test 256 --lag 3 --recall-steps 2 --recall-hidden 96 \
        --series-epochs 1 --series-hidden 32 --series-batch 600 ;;
    04*) set -- --hidden 160 --epochs 1 --batch 256 --train 256 --test 256 ;;
    05*) set -- --hidden 160 --batch 48 --steps 4 --length 20 --leak 3 --depth 2 ;;
    06*) set -- --hidden 96 --batch 100 --steps 3 --layers 2 --dropout 0.1 --forcing 0.5 --reports 1 --test 150 --copy-steps 4 --forcing-steps 2 ;;
    07*) set -- --hidden 96 --batch 100 --steps 3 --reports 1 --test 150 --copy-steps 4 ;;
    08*:series) set -- --width 96 --heads 3 --batch 24 --steps 3 --reports 1 --test 20 --warmup-steps 2 ;;
    08*) set -- --width 96 --heads 3 --blocks 2 --feed 200 --batch 24 --steps 3 --reports 1 --test 60 --window 80 --dropout 0.2 ;;
    esac
    echo "$@"
}

# Short enough for a build that has no fused multiply-add in hardware, and of a width that fills no register evenly.
small() {
    case $1 in
    01*) set -- --hidden 37 --epochs 1 --batch 64 --train 192 --test 100 ;;
    02*) set -- --hidden 13 --epochs 1 --batch 5 --train 800 --test 200 --reports 1 --lags 3 --estimates 2 --steps 3 ;;
    03*) set -- --hidden 13 --epochs 1 --batch 30 --train 90 --test 50 --lag 3 --recall-steps 3 --recall-hidden 13 \
        --series-epochs 1 --series-hidden 5 --series-batch 100 ;;
    04*) set -- --hidden 13 --epochs 1 --batch 30 --train 90 --test 50 --length 20 ;;
    05*) set -- --hidden 37 --batch 8 --steps 5 --reports 1 --length 20 --leak 3 --depth 2 ;;
    06*) set -- --hidden 13 --batch 7 --steps 3 --reports 1 --test 20 --copy-steps 4 --forcing-steps 2 ;;
    07*) set -- --hidden 13 --batch 7 --steps 3 --reports 1 --test 20 --copy-steps 4 ;;
    08*:series) set -- --width 15 --heads 3 --feed 13 --batch 5 --steps 3 --reports 1 --test 9 --warmup-steps 2 ;;
    08*) set -- --width 15 --heads 3 --blocks 2 --feed 13 --batch 7 --steps 3 --reports 1 --test 20 --window 17 --length 20 \
        --dropout 0.2 --norm post --positions learned ;;
    esac
    echo "$@"
}

# options_of KIND CHAPTER
options_of() {
    case $1 in wide) wide "$2" ;; small) small "$2" ;; esac
}

# quick.sh compares the quick presets for several numbers of threads. Where the sanitizers watch every number, the short run
# has to do.
kinds="wide small"
[ "$MODE" = debug ] && kinds=small

threads_test() {
    for chapter in $chapters; do
        program=$root/$below/$chapter
        [ "$MODE" = debug ] || run "$chapter.quick.1" "$program" --threads 1
        for kind in $kinds; do
            for threads in 1 2 3; do
                # shellcheck disable=SC2046
                run "$chapter.$kind.$threads" "$program" --threads $threads $(options_of "$kind" "$chapter")
            done
            same "$chapter.$kind.1" "$chapter.$kind.2" "$chapter, $kind: 2 threads"
            same "$chapter.$kind.1" "$chapter.$kind.3" "$chapter, $kind: 3 threads"
        done
        # shellcheck disable=SC2046
        run other "$program" --seed 2 $(small "$chapter")
        for file in curve.csv samples.txt; do
            case $chapter.$file in 02*.samples.txt | 08*:[swb]*.samples.txt) continue ;; esac       # none, or nothing learned yet
            if cmp -s "$chapter.small.1/$file" "other/$file"; then
                fail "$chapter: --seed 2 changes nothing in $file"
            else
                pass
            fi
        done
    done
}

# build CC OPT [emulator]: the chapters in the copy, built anew and compared with those of the tree
build() {
    targets=
    for chapter in $chapters; do targets="$targets $below/${chapter%:*}"; done
    # shellcheck disable=SC2086
    if ! make -s -j2 -C copy MODE="$MODE" CC="$1" OPT="$2" $targets >log 2>&1; then
        fail "$1 $2: does not build: $(tail -n 3 log)"
        return
    fi
    for chapter in $chapters; do
        # shellcheck disable=SC2046
        run other ${3:+"$3"} "$tmp/copy/$below/$chapter" $(small "$chapter")
        same "$chapter.small.1" other "$chapter, small: $1 $2"
        case $2 in
        *-march*)
            run other "$tmp/copy/$below/$chapter"
            same "$chapter.quick.1" other "$chapter, quick: $1 $2"
            ;;
        esac
    done
}

has_avx2() {
    [ "$(uname -m)" = x86_64 ] && grep -q avx2 /proc/cpuinfo 2>/dev/null &&
        echo 'int main(void) { return 0; }' | "$1" -march=x86-64-v3 -x c - -o probe 2>/dev/null
}

rebuild_test() {
    if [ "$MODE" = debug ]; then
        skip "other builds; they are compared in the other modes"
        return
    fi
    mkdir copy
    cp -r "$root/Makefile" "$root/common" "$root/chapters" copy
    cc=${CC:-cc}
    build "$cc" -O1
    build "$cc" -O2
    if has_avx2 "$cc"; then build "$cc" '-O3 -march=x86-64-v3'; else skip "no x86-64-v3 here"; fi
    case $("$cc" --version 2>/dev/null) in *clang*) other=gcc ;; *) other=clang ;; esac
    if command -v $other >/dev/null; then build $other '-O3 -march=native'; else skip "no $other here"; fi
    if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
        build aarch64-linux-gnu-gcc -O2 emulator
    else
        skip "no compiler for AArch64 with an emulator here"
    fi
}

threads_test
rebuild_test
tally="$passed passed, $failed failed"
[ $skipped -gt 0 ] && tally="$tally, $skipped skipped"
echo "$tally"
[ $failed -eq 0 ]
