#!/bin/sh
# The chapters from a user's side: --help, every kind of bad input for every option, a full disk, Ctrl-C, and the form of
# curve.csv. Bad input must give one line on stderr that names it, exit status 2, and leave earlier results as they are.
#
# The options are read from --help, and their ranges from the messages about a value that is no number. A chapter comes in by
# the list at the end, a line in `run`, and one in `told` if it writes samples. ONLY=04_gru tests that one. Chapter 08 comes in
# once for each task, as 08_transformer_mask:gpt.

cd "$(dirname "$0")/.." || exit 1
root=$PWD
case ${MODE:=release} in release) bin=$root/build ;; *) bin=$root/build/$MODE ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 1
unset QUIJOTE
LC_ALL=C
export LC_ALL
passed=0 failed=0 skipped=0

# A program that dies does not tidy up; the sanitizer's list of what it held is not the message that is looked for here.
quiet=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "cli: $chapter: $*"; }
expect() {
    what=$1
    shift
    if "$@"; then pass; else fail "$what: failed: $*"; fi
}
expect_nothing() {
    if [ -z "$2" ]; then pass; else fail "$1: $2"; fi
}

# ---- running ----------------------------------------------------------------------------------------------------------

# As small as a run can be, on one thread: a second would only wait. The options that follow win.
run() {
    set -- --threads 1 "$@"
    case $chapter in
    01*) "$program" --preset quick --epochs 1 --train 64 --test 16 --batch 16 --window 8 --hidden 4 --length 5 "$@" ;;
    02*) "$program" --preset quick --epochs 1 --train 400 --test 100 --batch 4 --window 8 --hidden 4 --reports 1 \
        --lags 3 --back 8 --estimates 2 --steps 2 "$@" ;;
    03*) "$program" --preset quick --epochs 1 --train 64 --test 16 --batch 16 --window 8 --hidden 4 --length 5 \
        --lag 3 --recall-steps 3 --recall-hidden 4 --series-epochs 1 --series-batch 16 --series-hidden 2 "$@" ;;
    04*) "$program" --preset quick --epochs 1 --train 64 --test 16 --batch 16 --window 8 --hidden 4 --length 5 \
        --race 0 "$@" ;;
    05*) "$program" --preset quick --steps 4 --reports 2 --batch 4 --window 8 --hidden 4 --embedding 4 --length 5 \
        --leak 2 --depth 1 "$@" ;;
    06*) "$program" --preset quick --copy-steps 2 --forcing-steps 2 --steps 2 --reports 1 --hidden 4 --embedding 4 --batch 4 --test 9 "$@" ;;
    07*) "$program" --preset quick --copy-steps 2 --steps 2 --reports 1 --hidden 4 --embedding 4 --batch 4 --test 9 "$@" ;;
    08*) "$program" --task "${chapter#*:}" --preset quick --steps 3 --reports 1 --width 4 --heads 2 --feed 4 --batch 2 --window 8 \
        --test 9 --length 5 --warmup-steps 2 "$@" ;;
    esac
}

# The sample that was drawn as the options say, of those in a folder's samples.txt.
told() {
    case $chapter in
    01* | 03*) sed -n 's/^sampled *//p' "$1/samples.txt" ;;
    04* | 08*) cat "$1/samples.txt" ;;
    *)   awk '/^--- / { other = !/drawn as told/; next } !other' "$1/samples.txt" ;;
    esac >"$1/told"
}

same_sample() {
    told "$2"
    told "$3"
    expect "$1" cmp "$2/told" "$3/told"
    expect "$1: there is one" test -s "$2/told"
}

snapshot() {
    (cd "$tmp/keep" && ls -A && cksum ./*)
}

# one_line STATUS NEEDLE ALSO WHAT: the file err is what a refusal has to be.
one_line() {
    if [ "$1" -ne 2 ]; then fail "$4: exit status $1, expected 2: $(head -n 3 err)"
    elif [ "$(wc -l <err)" -ne 1 ] || [ "$(awk 'END { print NR }' err)" -ne 1 ]; then
        fail "$4: expected one line on stderr: $(head -n 3 err)"
    elif ! grep -qF -e "$2" err || ! grep -qF -e "$3" err; then fail "$4: '$2' or '$3' is not named: $(cat err)"
    elif [ "$(snapshot)" != "$before" ]; then
        fail "$4: earlier results in --out have changed"
    else
        pass
        return
    fi
    before=$(snapshot)
}

# refuse NEEDLE ALSO ARGUMENT …
refuse() {
    needle=$1 also=$2
    shift 2
    ASAN_OPTIONS=$quiet run --out "$tmp/keep" "$@" >log 2>err
    one_line $? "$needle" "$also" "$*"
}

# ---- options ----------------------------------------------------------------------------------------------------------

# name and kind (N, X, TEXT or FLAG) of every option
options() {
    "$program" --help | sed -nE -e 's/^  --([a-z0-9-]+) (N|X|TEXT) .*/\1 \2/p' -e t -e 's/^  --([a-z0-9-]+) .*/\1 FLAG/p'
}

# whether the chapter has this option, and the task reads it
has() {
    case $chapter:$1 in
    08*:series:corpus | 08*:words:corpus | 08*:series:load | 08*:words:prompt | 08*:series:prompt) return 1 ;;
    08*:gpt:temperature) ;;
    08*:temperature | 08*:series:window | 08*:words:window) return 1 ;;
    esac
    grep -q "^$1 " list
}

help_test() {
    "$program" --help >help 2>err
    expect "--help exits 0" test $? -eq 0
    expect "--help is silent on stderr" test ! -s err
    in_source=$(sed -n 's/.*{ "\([a-z0-9-]*\)", OPTION_.*/\1/p' "$root/chapters/${chapter%:*}"/*.c)
    for option in preset help seed threads out $in_source; do
        expect "--help names --$option" grep -q "^  --$option " help
    done
    expect "--help lists some options" test "$(options | wc -l)" -gt 10
    "$program" -h >short 2>&1
    expect "-h is --help" cmp help short
}

# The range of an option, from the message about "x".
range() {
    ASAN_OPTIONS=$quiet run "--$1" x 2>&1 >/dev/null | sed -n 's/.* from \([-+.0-9e]*\) to \([-+.0-9e]*\)$/\1 \2/p'
}

number_test() {
    name=$1 kind=$2
    for value in x '' ' ' 1x 1,5 nan --seed '1 2' 0x; do refuse "--$name" "$value" "--$name" "$value"; done
    refuse "--$name" nonsense "--$name=nonsense"
    low_high=$(range "$name")
    low=${low_high% *} high=${low_high#* }
    if [ -z "$low_high" ]; then
        fail "--$name x: no range in its message"
        return
    fi
    for value in -99999999999999999999 99999999999999999999 -1e999 1e999 inf -inf; do
        refuse "--$name" "$value" "--$name" "$value"
    done
    if [ "$kind" = N ]; then
        for value in 1.5 1e1 0x10 "$((low - 1))" "$((high + 1))" 4294967297 -4294967295; do
            refuse "--$name" "$value" "--$name" "$value"
        done
    else
        value=$(awk "BEGIN { low = $low; print low > 0 ? low / 2 : low * 2 - 1e-9 }")
        refuse "--$name" "$value" "--$name" "$value"
        value=$(awk "BEGIN { print $high * 1.0001 }")
        refuse "--$name" "$value" "--$name" "$value"
    fi
}

options_test() {
    while read -r option kind; do
        case $kind in
        FLAG) refuse "--$option" "--$option" "--$option=value" ;;
        N | X) number_test "$option" "$kind" ;;
        TEXT) refuse "--$option" "--$option" "--$option" '' ;;
        esac
        case $kind in FLAG) ;; *) refuse "--$option" "--$option" "--$option" ;; esac
    done <list
    refuse --nonsense --nonsense --nonsense
    refuse --nonsense --nonsense --nonsense 3
    refuse --nonsense --nonsense --nonsense=3
    refuse --nonsense --nonsense --seed 3 --nonsense --seed 4
    refuse -q -q -q
    refuse -quiet -quiet -quiet
    refuse stray stray stray
    refuse stray stray -- stray
    refuse stray stray --seed 3 stray --seed 4
    refuse --preset fast --preset fast
    refuse --preset Quick --preset Quick
    for choice in cell part task score; do
        if has $choice; then refuse transformer --$choice --$choice transformer; fi
    done
}

# ---- files ------------------------------------------------------------------------------------------------------------

corpus_test() {
    has corpus || return
    : >empty.txt
    printf 'uno\000dos' >binary.txt
    printf 'a\361o' >latin1.txt
    printf '\357\273\277' >mark.txt
    printf 'En un lugar' >short.txt
    mkdir -p folder
    for file in missing.txt no/such/folder.txt empty.txt binary.txt latin1.txt mark.txt short.txt folder; do
        refuse "$file" "$file" --corpus "$file"
        QUIJOTE=$file
        export QUIJOTE
        refuse "$file" "$file" --seed 2
        unset QUIJOTE
    done
}

# A path below a regular file cannot be written, not even by root.
unwritable_test() {
    : >plain
    refuse plain plain --out plain
    refuse plain plain --out plain/below
    refuse plain plain --out plain/below/it
    mkdir -p taken/curve.csv
    refuse taken/curve.csv taken/curve.csv --out taken
    expect "nothing is left beside a name that is taken" test ! -e taken/curve.csv.partial
    if has save; then
        for path in plain/model no/such/folder/model folder; do refuse "$path" "$path" --save "$path"; done
        expect "nothing is left beside a folder" test ! -e folder.partial
    fi
}

# limited BLOCKS: a run that may write no file longer than that. Its message goes through a pipe, which has no limit.
limited() {
    said=$(
        ulimit -f "$1"
        trap '' XFSZ
        shift
        { ASAN_OPTIONS=$quiet run --out "$tmp/keep" --seed 5 "$@" >/dev/null; echo $? >&2; } 2>&1
    )
    printf '%s\n' "$said" | sed '$d' >err
    status=$(printf '%s\n' "$said" | sed -n '$p')
}

full_disk_test() {
    if [ -e keep/model.safetensors ]; then cp keep/model.safetensors earlier.safetensors; fi
    limited 0
    one_line "$status" "$tmp/keep/" ' ' "a full disk"
    has save || return
    limited 4 --hidden 32
    before=$(snapshot)                                           # the curve found room, the model did not
    one_line "$status" .safetensors ' ' "a disk too full for the model"
    expect_nothing "a disk too full for the model: an unfinished file is left" "$(find "$tmp/keep" -name '*.partial')"
    expect "the earlier model is there" cmp keep/model.safetensors earlier.safetensors
}

# ---- prompts and models -----------------------------------------------------------------------------------------------

# Text without a k, long enough for every chapter's smallest run.
small_corpus() {
    awk 'BEGIN { while (n++ < 300) print "en un lugar de la mancha" }'
}

prompt_test() {
    has prompt && has corpus || return
    small_corpus >small.txt
    run --corpus small.txt --prompt "la $gap" --out small >log 2>err
    expect "a small corpus is enough: $(cat err)" test $? -eq 0
    refuse k k --corpus small.txt --prompt "la k$gap"
    refuse --prompt --prompt --prompt "$(printf 'a\361o%s' $gap)"
}

model_test() {
    has load || return
    model=$tmp/keep/model.safetensors
    [ -e "$model" ] || model=$tmp/keep/to_digits.safetensors
    : >empty
    printf 'no checkpoint at all, but long enough to be one' >garbage
    dd if="$model" of=cut bs=1 count=$(($(wc -c <"$model") - 3)) 2>/dev/null
    dd if="$model" of=cut_header bs=1 count=100 2>/dev/null
    "$bin/test_checkpoint" write "$tmp/other"
    for file in missing folder empty garbage cut cut_header other; do refuse "$file" "$file" --load "$file" $ask; done
    refuse '☃' --prompt --load "$model" --prompt "a☃$gap"
    refuse '☃' --prompt --prompt "a☃$gap"
    has save || return

    run --out one --save saved --seed 9 --length 60 >log 2>err
    expect "--save FILE: $(cat err)" test $? -eq 0 -a -s saved
    expect "--save FILE leaves none in --out" test ! -e one/model.safetensors
    run --out two --load saved --seed 9 --length 60 >log 2>err
    expect "--load FILE: $(cat err)" test $? -eq 0 -a ! -s err
    same_sample "a loaded model writes what the saved one wrote" one two
    expect "--load trains nothing" test ! -e two/curve.csv

    # Symbols that mean something to a reader of text or JSON must come back as symbols; so must a CR and an LF that
    # are neighbours in the vocabulary, but not in the text.
    awk 'BEGIN { while (n++ < 300) printf "a\"\\\r/\r\342\202\254\r\001\nb\n" }' >odd.txt
    run --corpus odd.txt --prompt a --out one --save odd --length 60 >log 2>err
    expect "a corpus of odd symbols: $(cat err)" test $? -eq 0
    run --prompt a --out two --load odd --length 60 >log 2>err
    expect "a model of odd symbols loads: $(cat err)" test $? -eq 0
    same_sample "and writes the same" one two
}

# ---- results ----------------------------------------------------------------------------------------------------------

# curve_check FILE V: prints what is wrong with a curve; loss at the start is near ln V where epoch 0 is there.
curve_check() {
    awk -F, -v V="$2" '
    function number(x) { return x ~ /^-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?$/ }
    NR == 1 {
        if ($0 != "model,seed,epoch,step,tokens,split,loss,perplexity,grad_norm,learning_rate") print "header: " $0
        next
    }
    NF != 10 { print "cells: " $0; next }
    $1 !~ /^[a-z0-9_-]+$/ || $2 !~ /^[0-9]+$/ || $3 !~ /^[0-9]+$/ || $4 $5 !~ /^[0-9][0-9]+$/ { print "form: " $0 }
    $6 !~ /^(train|valid|test|baseline)$/ { print "split: " $0 }
    !number($7) || !number($8) || ($9 != "" && !number($9)) || ($10 != "" && !number($10)) { print "number: " $0; next }
    { p = exp($7); if ($8 < p * (1 - 1e-5) || $8 > p * (1 + 1e-5)) print "perplexity: " $0 }
    $3 == 0 && $6 != "baseline" && ($7 < log(V) * 0.9 || $7 > log(V) * 1.1) { print "start: " $0 }
    END { if (NR < 1) print "no header" }' "$1"
}

expect_curve() {
    expect_nothing "$3: $1" "$(curve_check "$1" "$2" 2>&1)"
    expect "$3: $1 ends with a whole line" test "$(tail -c 1 "$1" | wc -l)" -eq 1
    expect_nothing "$3: an unfinished file is left" "$(find "$(dirname "$1")" -name '*.partial')"
}

results_test() {
    run --out new/nested/folder --seed 4 >log 2>err
    expect "a good run exits 0" test $? -eq 0
    expect "a good run is silent on stderr: $(head -n 3 err)" test ! -s err
    V=
    if has corpus; then
        expect "it says which text it reads" grep -q pastiche log
        V=$(sed -nE 's/.* ([0-9]+) (symbols|distinct)([^0-9].*)?$/\1/p' log | sed -n 1p)
        expect "it says how many symbols there are" test "${V:-0}" -gt 10
    fi
    expect_curve new/nested/folder/curve.csv "${V:-0}" "a good run"
    expect "there is a row of training" grep -q ',train,' new/nested/folder/curve.csv
    expect "it writes timing.csv" test -s new/nested/folder/timing.csv
    expect "seed is in the curve" grep -q '^[a-z0-9]*,4,' new/nested/folder/curve.csv
    has temperature || return
    expect "it writes samples.txt" test -s new/nested/folder/samples.txt
    run --temperature 0 --out cold >log 2>err
    expect "temperature 0: $(cat err)" test $? -eq 0
    run --temperature 1e-100 --out cool >log 2>err
    expect "a temperature of nearly 0: $(cat err)" test $? -eq 0
    same_sample "a temperature of nearly 0 is as good as 0" cold cool
}

# One stream and the shortest corpus that is allowed, and a few longer ones: every part must still have a piece to measure.
least_test() {
    case $chapter in 05*) ;; *) return ;; esac
    small_corpus >small.txt
    allowed=0
    for n in 30 38 39 40 41 42 43 50 51 52 60 61 62; do
        dd if=small.txt of=least.txt bs=1 count=$n 2>/dev/null
        ASAN_OPTIONS=$quiet run --corpus least.txt --batch 1 --window 2 --prompt l --out "least$n" >log 2>err || continue
        allowed=$((allowed + 1))
        expect_nothing "a corpus of $n symbols, --batch 1 --window 2" \
            "$(curve_check "least$n/curve.csv" 0 2>&1 | grep -v '^start' | sed -n 1p)"
        if [ -e "least$n/results.csv" ]; then
            expect_nothing "results of a corpus of $n symbols" "$(grep -E 'nan|inf' "least$n/results.csv")"
        fi
    done
    expect "some of those corpora are long enough" test $allowed -gt 3
}

# ---- Ctrl-C -----------------------------------------------------------------------------------------------------------

# interrupt MS ARGUMENT …: Ctrl-C so long after curve.csv was begun, or after the first $await was there
await=curve.csv.partial
interrupt() {
    rm -rf stopped
    send INT "$@"
}

# send SIGNAL MS ARGUMENT …: the same into a folder that may have been begun
send() {
    signal=$1 delay=$2
    shift 2
    saved_program=$program
    program=spawn_program
    run --out stopped --seed 6 "$@" >log 2>err
    status=$?
    program=$saved_program
}

spawn_program() {
    ./spawn_int "$signal" "stopped/$await" "$delay" "$saved_program" "$@"
}

interrupt_test() {
    for ms in 0 50 300; do
        case $chapter in
        05*)       set -- --epochs 1000000 --steps 1000000000 ;;
        06* | 07*) set -- --part numbers --steps 10000000 ;;
        08*)       set -- --steps 10000000 ;;
        *)         set -- --epochs 1000000 ;;
        esac
        interrupt $ms "$@"
        expect "Ctrl-C after $ms ms: status $status, expected 130: $(head -n 3 err)" test "$status" -eq 130
        expect "Ctrl-C after $ms ms: silent on stderr" test ! -s err
        if [ -e stopped/curve.csv ]; then
            expect_curve stopped/curve.csv "${V:-0}" "Ctrl-C after $ms ms"
        else
            fail "Ctrl-C after $ms ms: no curve.csv"
        fi
    done
    case $chapter in
    06* | 07* | 08*:words)
        run --load stopped/to_digits.safetensors --prompt dos >log 2>err
        expect "the network of a run that was stopped answers: $(cat err)" test $? -eq 0 -a ! -s err ;;
    esac
    has window && has load || return
    case $MODE in debug) wide=64 ;; *) wide=512 ;; esac
    case $chapter in 08*) wide="--width $wide" ;; *) wide="--hidden $wide" ;; esac
    # shellcheck disable=SC2086
    interrupt 0 --steps 1000000 $wide --batch 1 --window 64
    expect "Ctrl-C before the first step: status $status, expected 130" test "$status" -eq 130
    case $chapter in 08*)                  # which must not put what it has not learned over an earlier model
        expect "Ctrl-C before the first step: no model" test ! -e stopped/model.safetensors
        return ;;
    esac
    expect "Ctrl-C before the first step: the model is not all zeros" \
        test "$(tail -c 20000 stopped/model.safetensors | tr -d '\000' | wc -c)" -gt 1000
    # shellcheck disable=SC2086
    run --load stopped/model.safetensors --out two $ask >log 2>err
    expect "the model of a run that was stopped loads: $(cat err)" test $? -eq 0
}

# Ctrl-C in a part of a chapter: when the first file is there, the second argument makes what follows it endless.
parts_test() {
    case $chapter in
    02*) parts='truncation.csv:estimates randomized.csv:steps' ;;
    03*) parts='gates.csv:recall-steps recall.csv:series-epochs' ;;
    04*) parts='variants_seconds.csv.partial:race' ;;
    06*) parts='accuracy.csv.partial:copy-steps branches.csv:steps forcing.csv.partial:forcing-steps' ;;
    07*) parts='kernels.csv:copy-steps' ;;
    08*:series) parts='warmup.csv.partial:warmup-steps' ;;
    *)   return ;;
    esac
    for part in $parts; do
        await=${part%:*}
        option=--${part#*:}
        interrupt 20 "$option" "$(range "${option#--}" | sed 's/.* //')"
        expect "Ctrl-C within $option: status $status, expected 130: $(head -n 3 err)" test "$status" -eq 130
        expect "Ctrl-C within $option: silent on stderr" test ! -s err
        expect_nothing "Ctrl-C within $option: an unfinished file is left" "$(find stopped -name '*.partial')"
    done
    await=curve.csv.partial
}

# A run that was stopped, and resumed, has the bytes of one that was not.
resume_test() {
    has resume || return
    case $MODE in debug) steps=300 ;; *) steps=3000 ;; esac
    for cell in rnn gru lstm; do
        set -- --steps $steps --epochs 1000 --reports 7 --hidden 16 --dropout 0.1 --layers 2 --cell $cell
        run --seed 6 --out whole "$@" >log 2>err
        expect "$cell: a run to compare with: $(cat err)" test $? -eq 0
        await=checkpoint.safetensors
        interrupt 1 "$@"
        await=curve.csv.partial
        expect "$cell: Ctrl-C: status $status, expected 130" test "$status" -eq 130
        cp stopped/checkpoint.safetensors stopped.$cell
        run --seed 6 --out resumed --resume stopped.$cell "$@" >log 2>err
        expect "$cell: --resume: $(cat err)" test $? -eq 0 -a ! -s err
        for file in curve.csv samples.txt results.csv model.safetensors; do
            expect "$cell: stopped and resumed, $file" cmp whole/$file resumed/$file
        done
    done
    before=$(snapshot)
    refuse stopped.lstm run --resume stopped.lstm
    for file in missing folder empty garbage cut other keep/model.safetensors; do
        refuse "$file" "$file" --resume "$file"
    done
    # Nothing was done yet, but the place in the text is before its beginning, or the last report was at step 4.
    run --out stopped >log 2>err
    for other in '0 1 0 -9' '0 1 4 32'; do
        sed "s/\"progress\":\"4 1 4 32/\"progress\":\"$other/" stopped/checkpoint.safetensors >forged
        expect "a checkpoint can be forged" test "$(cmp -s forged stopped/checkpoint.safetensors; echo $?)" -eq 1
        refuse forged forged --resume forged
    done
}

# A run that writes its checkpoint after every step, is killed again and again, and goes on each time from what stands there.
kill_test() {
    has resume || return
    case $MODE in debug) steps=80 ;; *) steps=400 ;; esac
    set -- --steps $steps --epochs 1000 --reports $steps --hidden 16 --dropout 0.1
    run --seed 6 --out whole "$@" >log 2>err
    expect "a run to compare with: $(cat err)" test $? -eq 0
    rm -rf stopped from
    kills=0
    await=checkpoint.safetensors                                 # a first one, and up to 28 ms more: then the next are on their way
    while [ $kills -lt 10 ]; do
        resume=
        if [ -e from ]; then resume='--resume from'; fi
        # shellcheck disable=SC2086
        send KILL $((kills * 37 % 29)) "$@" $resume
        if [ "$status" -ne 137 ]; then break; fi
        kills=$((kills + 1))
        mv stopped/checkpoint.safetensors from
    done
    await=curve.csv.partial
    expect "killed $kills times, then status $status: $(cat err)" test "$status" -eq 137 -o "$status" -eq 125 -a $kills -gt 2
    run --seed 6 --out resumed --resume from "$@" >log 2>err
    expect "resumed after $kills kills: $(cat err)" test $? -eq 0 -a ! -s err
    for file in curve.csv samples.txt results.csv model.safetensors; do
        expect "killed and resumed, $file" cmp whole/$file resumed/$file
    done
}

# What goes together with a task of chapter 08, and what does not. The networks of the tasks before this one are in *.network.
tasks_test() {
    case $chapter in 08*) ;; *) return ;; esac
    refuse --width --heads --width 6 --heads 4
    case $chapter in
    *:series)
        refuse --load --load --load x
        refuse --prompt --load --prompt 1
        ;;
    *:words)
        refuse --prompt --load --prompt dos
        refuse --prompt --load --load keep/to_digits.safetensors
        refuse --prompt --prompt --load keep/to_digits.safetensors --prompt "$(small_corpus | head -n 5)"
        for name in to_digits:dos to_words:2; do
            run --load keep/${name%:*}.safetensors --prompt "${name#*:}" --out none >log 2>err
            expect "$name answers: $(cat err)" test $? -eq 0 -a ! -s err
            expect "$name answers in one line: $(cat log)" grep -q "^${name#*:} → " log
        done
        refuse keep/to_digits.safetensors keep/to_digits.safetensors --task gpt --load keep/to_digits.safetensors
        cp keep/to_digits.safetensors words.network
        ;;
    *:gpt)
        refuse words.network to_digits --load words.network
        run --load keep/model.safetensors --out loaded --seed 77 >log 2>err
        expect "--load: $(cat err)" test $? -eq 0 -a ! -s err
        cp -r keep wrote
        same_sample "a loaded network writes what it wrote" wrote loaded
        expect "--load trains nothing" test ! -e loaded/curve.csv
        run --load keep/model.safetensors --out loaded --prompt "$(small_corpus | head -n 9)" >log 2>err
        expect "a prompt longer than the window: $(cat err)" test $? -eq 0 -a "$(wc -l <loaded/samples.txt)" -ge 9
        cp keep/model.safetensors gpt.network
        ;;
    *:bert)
        refuse --prompt --load --load keep/model.safetensors
        refuse --prompt _ --load keep/model.safetensors --prompt dos
        refuse --prompt _ --prompt dos
        refuse --prompt 8 --load keep/model.safetensors --prompt 'uno_dos_t'
        refuse --prompt 8 --prompt 'uno_dos_t'
        refuse words.network to_digits --load words.network --prompt a_
        refuse gpt.network gpt --load gpt.network --prompt a_
        run --load keep/model.safetensors --out none --prompt 'En _n' >log 2>err
        expect "--load: $(cat err)" test $? -eq 0 -a ! -s err
        expect "what was no gap is as it was: $(cat log)" grep -q '^En .n$' log
        ;;
    esac
    expect "a network that answers writes no files" test ! -e none
    run --norm post --positions learned --fused 0 --dropout 0.2 --out others >log 2>err
    expect "the other ways: $(cat err)" test $? -eq 0 -a ! -s err
}

# ---- all of it --------------------------------------------------------------------------------------------------------

test_chapter() {
    chapter=$1 program=$bin/${1%:*} gap= ask=
    case $chapter in
    *:bert)  gap=_ ask='--prompt a_' ;;
    *:words) ask='--prompt dos' ;;
    esac
    for source in "$root/chapters/${chapter%:*}"/*.c; do
        if [ ! -e "$source" ]; then
            echo "skipped: $chapter: not written yet"
            skipped=$((skipped + 1))
            return
        fi
    done
    if [ ! -x "$program" ]; then
        fail "NOT BUILT: $program"
        return
    fi
    rm -rf keep
    run --out keep --seed 77 >log 2>err
    expect "a run to be kept: $(cat err)" test $? -eq 0
    before=$(snapshot)
    options >list
    help_test
    options_test
    corpus_test
    unwritable_test
    prompt_test
    model_test
    tasks_test
    results_test
    least_test
    interrupt_test
    parts_test
    resume_test
    kill_test
    full_disk_test
}

chapter=
expect "spawn_int is compiled" "${CC:-cc}" -std=c11 -D_POSIX_C_SOURCE=200809L -o spawn_int "$root/tests/spawn_int.c"
for entry in ${ONLY:-01_rnn_scratch 02_bptt_clip 03_lstm 04_gru 05_char_lm_quijote 06_seq2seq 07_attention 08_transformer_mask}; do
    case $entry in
    08_transformer_mask) for task in series words gpt bert; do test_chapter "$entry:$task"; done ;;
    *) test_chapter "$entry" ;;
    esac
done

tally="$passed passed, $failed failed"
[ $skipped -gt 0 ] && tally="$tally, $skipped skipped"
echo "$tally"
[ $failed -eq 0 ]
