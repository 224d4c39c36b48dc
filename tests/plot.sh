#!/bin/sh
# A chapter's results become pictures beside them; and without matplotlib a chapter says so in one line and does not fail.

cd "$(dirname "$0")/.." || exit 1
root=$PWD
case ${MODE:=release} in release) bin=$root/build ;; *) bin=$root/build/$MODE ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 1
unset QUIJOTE
passed=0 failed=0 skipped=0

expect() {
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "plot: $what: failed: $*"; fi
}

begins_with() {
    [ "$(dd if="$1" bs=1 count=${#2} 2>/dev/null)" = "$2" ]
}

"$bin/01_rnn_scratch" --preset quick --train 256 --test 64 --batch 16 --hidden 8 --out out >log 2>&1
expect "a chapter runs" test $? -eq 0

# run.sh as it is where nothing has matplotlib: no system Python, a python3 that can do nothing, no build/venv.
mkdir -p bare/plots path
sed 's,/usr/bin/python3,/nowhere/python3,g' "$root/plots/run.sh" >bare/plots/run.sh
printf '#!/bin/sh\nexit 1\n' >path/python3
chmod +x path/python3
(
    unset PYTHON
    PATH=$tmp/path:$PATH sh bare/plots/run.sh --optional out >said 2>&1
)
expect "--optional without matplotlib exits 0" test $? -eq 0
expect "--optional without matplotlib says one line" test "$(wc -l <said)" -eq 1
expect "the line tells what is missing" grep -q matplotlib said
expect "nothing is drawn then" test ! -e out/curve.png

sh "$root/plots/run.sh" --optional out >said 2>&1
expect "--optional exits 0: $(tail -n 1 said)" test $? -eq 0
if grep -q 'no Python with matplotlib' said; then
    skipped=1
    echo "skipped: no Python with matplotlib"
else
    rm -f out/*.png out/*.svg
    sh "$root/plots/run.sh" out >said 2>&1
    expect "plots/run.sh exits 0: $(tail -n 1 said)" test $? -eq 0
    for table in out/curve.csv out/activations.csv; do
        expect "$table has a PNG" begins_with "${table%.csv}.png" "$(printf '\211PNG')"
        expect "$table has an SVG" grep -q '</svg>' "${table%.csv}.svg"
    done
    for label in epoch 'loss (nats a token)' perplexity 'rnn, train' 'rnn, test'; do
        expect "the curve has the label" grep -qF ">$label" out/curve.svg
    done
    : >out/broken.csv
    printf 'model,seed\nrnn' >out/curve.csv
    sh "$root/plots/run.sh" --optional out >said 2>&1
    expect "--optional exits 0 whatever the tables hold" test $? -eq 0
    sh "$root/plots/run.sh" out >said 2>&1
    expect "a broken table is an error without it" test $? -ne 0
    expect "which names the table" grep -q curve.csv said
    expect "and is no stack trace" sh -c '! grep -q Traceback said'
fi

tally="$passed passed, $failed failed"
[ $skipped -gt 0 ] && tally="$tally, $skipped skipped"
echo "$tally"
[ $failed -eq 0 ]
