#!/bin/sh
# The closing league with the quick presets: a table of a known form whose numbers are those of the chapters' files; and
# whatever fails or is stopped on the way, one line says what, and the table of an earlier league stays as it was.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
case ${MODE:=release} in release) bin=$root/build ;; *) bin=$root/build/$MODE ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 1                                           # where there is no data/quijote.txt
unset QUIJOTE
passed=0 failed=0

expect() {
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "league: $what: failed: $*"; fi
}

league() { # PROGRAMS: status, said and complaint
    QUICK=1 OUT=out BIN=$1 sh "$root/plots/league.sh" >said 2>complaint
    status=$?
}

league "$bin"
expect "status 0: $(tail -n 1 complaint)" test $status -eq 0
if grep -q 'no Python with matplotlib' complaint; then
    rm complaint && : >complaint
else
    expect "it is drawn as PNG" test -s out/closing.png
    expect "and as SVG" test -s out/closing.svg
fi
expect "nothing on stderr: $(head -n 1 complaint)" test ! -s complaint
expect "the text is named" grep -q '^text  *the embedded pastiche' said
expect "seven lines say what runs" test "$(grep -c '^league  *[1-7] of 7 ' said)" -eq 7

table=out/closing.csv
expect "the header" test "$(head -n 1 $table)" = "task,at,model,parameters,steps,seconds,measure,value"
cat >rows <<'ROWS'
quijote,equal seconds,gru,bits
quijote,equal seconds,gpt,bits
quijote,equal parameters,gru,bits
quijote,equal parameters,gpt,bits
to_digits,,seq2seq,exact
to_digits,,attention,exact
to_digits,,transformer,exact
to_words,,seq2seq,exact
to_words,,attention,exact
to_words,,transformer,exact
ROWS
sed 1d $table | cut -d, -f1-3,7 >found
expect "the rows: $(diff rows found | head -n 1)" cmp -s rows found
awk -F, 'NR > 1 && (NF != 8 || $4 !~ /^[0-9]+$/ || $5 !~ /^[0-9]+$/ || $6 !~ /^[0-9]+\.[0-9]+$/ || $8 !~ /^[0-9]/ ||
         $4 < 1000 || $5 < 1 || $7 == "exact" && $8 > 1 || $7 == "bits" && ($8 < 1 || $8 > 8)) { print; bad = 1 }
         END { exit bad || NR != 11 }' $table >broken
expect "eight cells a row, numbers where there should be: $(head -n 1 broken)" test $? -eq 0

# row TASK AT MODEL COLUMN
row() { awk -F, -v task="$1" -v at="$2" -v model="$3" -v n="$4" '$1 == task && $2 == at && $3 == model { print $n }' $table; }

close() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0.95 * b && a < 1.05 * b) }'; }

gru=$(row quijote "equal parameters" gru 4)
expect "about as many parameters" close "$(row quijote "equal parameters" gpt 4)" "$gru"
for folder in gru gpt-parameters; do awk -F, '$6 == "valid" { n = $5 } END { print n }' out/$folder/curve.csv; done >symbols
expect "as many symbols read: $(tr '\n' ' ' <symbols)" test "$(sort -u symbols | wc -l)" -eq 1
while read -r at model folder; do
    bits=$(awk -F, -v model="$model" '$1 == model { print $3 }' "out/$folder/results.csv")
    expect "$folder: bits" test "$(row quijote "equal $at" "$model" 8)" = "$bits"
    size=$(row quijote "equal $at" "$model" 4)
    expect "$folder: parameters as it prints them" grep -q " $size parameters" "out/$folder/log.txt"
done <<'RUNS'
seconds gru gru
seconds gpt gpt-seconds
parameters gpt gpt-parameters
RUNS
for task in to_digits to_words; do
    for model in seq2seq attention transformer; do
        last=$(awk -F, -v task=$task '$2 == task { row = $3 "," $6 } END { print row }' out/$model/accuracy.csv)
        expect "$model, $task: steps, exact" test "$(row $task "" $model 5),$(row $task "" $model 8)" = "$last"
        seconds=$(awk -F, -v name="${model}_$task" '$1 == name { print $3 }' out/$model/timing.csv)
        expect "$model, $task: seconds" test "$(row $task "" $model 6)" = "$seconds"
        [ $model = seq2seq ] ||
            expect "$model, $task: parameters" grep -q " $(row $task "" $model 4) parameters" out/$model/log.txt
    done
done

# Programs that give the first league's files once more, and can be told to fail in the run whose folder is $FAIL.
cp $table first.csv
cp -r out saved
mkdir programs
cat >programs/replay <<'REPLAY'
#!/bin/sh
while [ "$1" != --out ]; do shift; done
into=$2 name=$(basename "$2")
[ "${FAIL:-}" != "$name" ] || { echo 'the reason why'; exit "$STATUS"; }
cp saved/"$name"/* "$into"
while [ $# -gt 0 ]; do [ "$1" != --steps ] || echo "$name $2" >>steps; shift; done
REPLAY
chmod +x programs/replay
for program in 05_char_lm_quijote 06_seq2seq 07_attention 08_transformer_mask; do ln -s replay programs/$program; done

league programs
expect "the same files give status 0: $(tail -n 1 complaint)" test $status -eq 0
expect "and the same table" cmp -s first.csv $table

# Without QUICK a GPT that took another time than the GRU runs again, twice at most, with as many steps as its speed asks for.
cp -r saved timed
printf 'model,epoch,seconds,tokens_per_second\ngru,1,4.000,1\ngru,1,6.000,1\n' >timed/gru/timing.csv
printf 'model,epoch,seconds,tokens_per_second\ngpt,1,2.000,1\n' >timed/speed/timing.csv      # of 20 steps, so 100 in 10 s
mv saved quick
for case in '9.500 100' '8.000 100 125 156' '20.000 100 50 25'; do
    # shellcheck disable=SC2086
    set -- $case
    printf 'model,epoch,seconds,tokens_per_second\ngpt,1,%s,1\n' "$1" >timed/gpt-seconds/timing.csv
    mv timed saved
    rm -f steps
    OUT=timed-out BIN=programs QUICK='' sh "$root/plots/league.sh" >said 2>complaint
    expect "$1 s instead of 10: status 0: $(tail -n 1 complaint)" test $? -eq 0
    shift
    expect "$case: steps $(sed -n 's/^gpt-seconds //p' steps | tr '\n' ' ')" \
        test "$(sed -n 's/^gpt-seconds //p' steps | tr '\n' ' ')" = "$* "
    expect "$case: the last line that says what runs" test "$(grep '^league' said | tail -n 1 | cut -c1-16)" = "league    7 of 7"
    expect "$case: each other time is told" test "$(grep -c 'instead of 10.000 s' said)" -eq $(($# > 1 ? 3 : 0))
    mv saved timed
done
mv quick saved

rm -f out/closing.png
fails() { # WHAT STATUS PATTERN: how the last league ended
    expect "$1: status $status" test $status -eq "$2"
    expect "$1: one line" test "$(wc -l <complaint)" -eq 1
    expect "$1: which says '$(head -n 1 complaint)'" grep -q "$3" complaint
    expect "$1: the first table stays" cmp -s first.csv $table
    expect "$1: nothing is left beside it" test -z "$(find out -name '.closing*')"
    expect "$1: nothing is drawn" test ! -e out/closing.png
}
export FAIL STATUS
for FAIL in speed gru transformer; do
    STATUS=2
    league programs
    fails "a failing run, $FAIL" 1 'exit status 2: the reason why'
    STATUS=130
    league programs
    fails "a run that is stopped, $FAIL" 130 'stopped; out/closing.csv is as it was'
    STATUS=0
    league programs
    fails "a run without results, $FAIL" 1 "out/$FAIL/.*: expected"
done
FAIL=

# lacking FILE SED-SCRIPT PATTERN: a result that is not as it should be
lacking() {
    cp "saved/$1" kept
    sed "$2" kept >"saved/$1"
    league programs
    fails "$1 with $2" 1 "out/$1: expected a number in a row of $3, found '$4'"
    cp kept "saved/$1"
}
lacking transformer/accuracy.csv /to_words/d transformer,to_words ''
lacking gpt-seconds/results.csv 's/^\(gpt.*\),.*/\1,nan/' gpt nan
lacking attention/timing.csv 1q attention_to_digits ''
rm programs/07_attention
league programs
fails "a program that is not there" 1 '07_attention: exit status 127'

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
