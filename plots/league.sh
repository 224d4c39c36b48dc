#!/bin/sh
# The closing league: the networks of chapters 05 to 08 beside each other, in one table and one picture.
#
#     make league                 three to six minutes on two cores: out/league/closing.csv, closing.png, closing.svg
#     QUICK=1 make league         the quick presets, in seconds: out/league-quick/; its numbers mean nothing
#
# On the text, a GRU and a GPT: once with as many seconds of training, once with as many parameters and as many symbols
# read. On the Spanish numbers, without attention (06), with it (07), with nothing else (08). Presets are the defaults.
#
# From the environment: QUICK; OUT, the folder for results; BIN, that of the programs; and QUIJOTE, which they read. The
# chapters' own files go to folders below OUT. closing.csv appears whole, when all is done, or stays as it was.

: "${BIN:=build}"
folder=$(dirname "$0")
if [ "${QUICK:-}" ]; then
    : "${OUT:=out/league-quick}"
    preset=quick
    short=20                                                  # steps to measure a GPT's speed with
    like_gru="--width 20 --blocks 1 --feed 80 --heads 4"      # 8,687 parameters with the story's 87 symbols; the GRU: 8,967
else
    : "${OUT:=out/league}"
    preset=default
    short=100
    like_gru="--width 48 --blocks 5 --feed 192 --heads 4"     # 150,428 with Don Quijote's 92 symbols; the GRU: 150,300
fi
part=$OUT/.closing.csv.$$
trap 'rm -f "$part"' EXIT
trap 'fail 130 "stopped; $OUT/closing.csv is as it was"' INT
trap 'exit 1' HUP TERM

fail() { # STATUS WHAT
    echo "league: $2" >&2
    exit "$1"
}

# run WHAT HOW-LONG NAME PROGRAM OPTION …: its files and what it says go to $OUT/NAME
count=0
run() {
    count=$((count + 1))
    [ $preset = default ] && time=", $2" || time=
    printf 'league    %d of 7   %s%s\n' $count "$1" "$time"
    program=$4 into=$OUT/$3
    shift 4
    mkdir -p "$into" || exit 1
    for old in results.csv accuracy.csv timing.csv curve.csv model.safetensors to_digits.safetensors to_words.safetensors; do
        rm -f "$into/$old"                                    # so that no number of an earlier run is taken
    done
    "$BIN/$program" --preset $preset --out "$into" "$@" >"$into/log.txt" 2>&1
    status=$?
    [ $status -eq 130 ] && fail 130 "stopped; $OUT/closing.csv is as it was"
    [ $status -eq 0 ] || fail 1 "$program: exit status $status: $(tail -n 1 "$into/log.txt")"
}

# cell CSV COLUMN KEY: the last row whose first cells are KEY, up to this column's number in it; and the sum of such rows
cell() {
    [ -f "$1" ] || fail 1 "$1: expected a result, found no such file"
    awk -F, -v n="$2" -v key="$3," 'index($0, key) == 1 { last = $n } END { print last }' "$1" | some "$1" "$3"
}

total() {
    [ -f "$1" ] || fail 1 "$1: expected a result, found no such file"
    awk -F, -v n="$2" -v key="$3," 'index($0, key) == 1 { sum += $n } END { if (sum != "") printf "%.3f\n", sum }' "$1" |
        some "$1" "$3"
}

some() { # FILE KEY: what is read, if that is a number
    read -r number
    case $number in
    '' | *[!0-9.e+-]*) fail 1 "$1: expected a number in a row of $2, found '$number'" ;;
    *) echo "$number" ;;
    esac
}

# A safetensors file: the header's length in 8 bytes, the lowest first, the header, then 4 bytes for each parameter.
parameters() {
    [ -f "$1" ] || fail 1 "$1: expected a saved model, found no such file"
    od -An -v -tu1 -N8 "$1" | awk -v bytes="$(wc -c <"$1")" '
        { for (i = NF; i > 0; i--) header = header * 256 + $i } END { printf "%d\n", (bytes - 8 - header) / 4 }'
}

# A network that reads the text: its row. What fails within $( ) says so there, and ends the script here.
text_row() { # AT MODEL NAME
    of=$OUT/$3
    bits=$(cell "$of/results.csv" 3 "$2") && size=$(parameters "$of/model.safetensors") &&
        steps=$(cell "$of/curve.csv" 4 "$2") && symbols=$(cell "$of/curve.csv" 5 "$2") &&
        seconds=$(total "$of/timing.csv" 3 "$2") || exit 1
    echo "quijote,$1,$2,$size,$steps,$seconds,bits,$bits" >>"$part"
}

number_rows() { # TASK
    for model in seq2seq attention transformer; do
        of=$OUT/$model
        exact=$(cell "$of/accuracy.csv" 6 "$model,$1") && steps=$(cell "$of/accuracy.csv" 3 "$model,$1") &&
            size=$(parameters "$of/$1.safetensors") && seconds=$(total "$of/timing.csv" 3 "${model}_$1") || exit 1
        echo "$1,,$model,$size,$steps,$seconds,exact,$exact" >>"$part"
    done
}

ratio() { awk -v a="$1" -v b="$2" -v c="$3" 'BEGIN { n = int(a * b / (c > 0.001 ? c : 0.001) + 0.5); print(n > 1 ? n : 1) }'; }

mkdir -p "$OUT" || exit 1
echo "task,at,model,parameters,steps,seconds,measure,value" >"$part" || exit 1

gpt="08_transformer_mask --task gpt --length 1"
# shellcheck disable=SC2086
run "a GPT's speed, from $short steps" "about 10 s" speed $gpt --steps $short --reports 1
sed -n '/^text/,/^ /p' "$OUT/speed/log.txt"
short_steps=$(cell "$OUT/speed/curve.csv" 4 gpt) && short_symbols=$(cell "$OUT/speed/curve.csv" 5 gpt) &&
    short_seconds=$(total "$OUT/speed/timing.csv" 3 gpt) || exit 1

run "the text, a GRU (05)" "half a minute or a whole one" gru 05_char_lm_quijote --leak 0 --depth 0 --dynamic 0
text_row "equal seconds" gru gru
gru_seconds=$seconds gru_symbols=$symbols

# Another program that begins or ends meanwhile changes the speed. Where a run is off by a tenth, its own speed says more.
planned=$(ratio "$short_steps" "$gru_seconds" "$short_seconds")
for try in 1 2 3; do
    # shellcheck disable=SC2086
    run "the text, a GPT (08) with as many seconds" "$gru_seconds s and 10 to test it" gpt-seconds $gpt --steps "$planned"
    taken=$(total "$OUT/gpt-seconds/timing.csv" 3 gpt) || exit 1
    [ $preset = default ] || break                            # the quick presets are too short for that
    awk -v a="$taken" -v b="$gru_seconds" 'BEGIN { exit !(a < 0.9 * b || a > 1.1 * b) }' || break
    printf '          it took %s s instead of %s s\n' "$taken" "$gru_seconds"
    planned=$(ratio "$planned" "$gru_seconds" "$taken")
    [ $try = 3 ] || count=$((count - 1))                      # the same number once more
done
text_row "equal seconds" gpt gpt-seconds

# shellcheck disable=SC2086
run "the text, a GPT (08) with as many parameters" "about a minute" gpt-parameters $gpt $like_gru \
    --steps "$(ratio "$short_steps" "$gru_symbols" "$short_symbols")"
text_row "equal parameters" gru gru
text_row "equal parameters" gpt gpt-parameters

run "numbers, seq2seq (06)" "about 10 s" seq2seq 06_seq2seq --part numbers --widths 0
run "numbers, attention (07)" "half a minute or a whole one" attention 07_attention --part numbers --score additive
run "numbers, a Transformer (08)" "about a minute" transformer 08_transformer_mask --task words
number_rows to_digits
number_rows to_words

mv "$part" "$OUT/closing.csv" || exit 1
awk -F, '
    NR == 1 { printf "\n%-10s %-17s %-12s %11s %6s %8s\n", $1, "at", $3, $4, $5, $6; next }
    { printf "%-10s %-17s %-12s %11d %6d %8.1f   %s\n", $1, $2, $3, $4, $5, $6,
             $7 == "bits" ? sprintf("%.3f bits a letter", $8) : sprintf("%.1f %% exact", 100 * $8) }' "$OUT/closing.csv"
sh "$folder/run.sh" --optional "$OUT/closing.csv"
