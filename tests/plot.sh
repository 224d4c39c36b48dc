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

    # Every form of chapters 06 and 07, from as small a file as shows it.
    six=two/06_seq2seq seven=two/07_attention
    mkdir -p $six $seven
    cat >$six/accuracy.csv <<'END'
model,task,step,loss,symbols,exact
seq2seq,copy,100,2.1,0.3,0
seq2seq,copy,200,nan,0.9,0.5
seq2seq,to_digits,200,1.5,0.5,0.25
END
    cat >$six/length.csv <<'END'
model,task,hidden,length,pairs,exact
seq2seq,to_digits,32,10.5,40,1
seq2seq,to_digits,32,20.5,40,0.5
seq2seq,to_digits,16,10.5,40,0.25
seq2seq,copy,32,12,40,0.75
few,to_digits,32,30,9,0.1
END
    cat >$seven/length.csv <<'END'
model,task,hidden,length,pairs,exact
attention,to_digits,32,10.5,40,1
attention_dot,to_digits,32,20.5,40,1
END
    cat >$six/forcing.csv <<'END'
forcing,task,step,told_loss,told_symbols,alone_symbols,alone_exact
1,copy,100,2,0.5,0.25,0
1,copy,200,1,0.9,0.5,0.25
1 to 0,copy,100,2,0.5,0.5,0
END
    cat >$six/branches.csv <<'END'
prefix,symbol,probability
7,2,0.75
7,end,0.25
72,8,1
END
    cat >$seven/kernels.csv <<'END'
panel,series,x,y
weight,boxcar,-1,1
weight,learned,0,1
estimate,data,0,0.5
estimate,truth,0,0.5
END
    cat >$seven/attention.csv <<'END'
model,example,row,output,column,input,weight
attention,1,0,2,0,d,0.75
attention,1,0,2,1,·,0.25
attention,1,1,end,0,d,0.5
attention,1,1,end,1,·,0.50000001
END
    printf 'model,task,source,target,answer,exact\nseq2seq,to_digits,dos,2,2,1\n' >$six/predictions.csv
    printf 'model,task,pairs,bleu\nseq2seq,to_digits,9,0.5\n' >$six/scores.csv
    sh "$root/plots/run.sh" two >said 2>&1
    expect "chapters 06 and 07 are drawn: $(tail -n 1 said)" test $? -eq 0
    forms="$six/accuracy $six/length $six/forcing $six/branches $seven/length $seven/kernels $seven/attention"
    for form in $forms; do
        expect "$form has a PNG" begins_with "$form.png" "$(printf '\211PNG')"
        expect "$form has an SVG" grep -q '</svg>' "$form.svg"
    done
    expect "nothing else is said" test "$(wc -l <said)" -eq 7
    expect "a table of answers is left alone" test ! -e $six/predictions.png
    expect "06 has all its tasks" grep -qF '>copy<' $six/length.svg
    expect "06 has all its widths" grep -qF '>seq2seq, width 16<' $six/length.svg
    expect "fewer than 10 pairs are not drawn" sh -c "! grep -qF '>few' $six/length.svg"
    expect "07 has its own lines" grep -qF '>attention_dot, width 32<' $seven/length.svg
    expect "and 06's of the same task and width" grep -qF '>seq2seq, width 32<' $seven/length.svg
    expect "not of another width" sh -c "! grep -qF 'width 16' $seven/length.svg"
    expect "nor of another task" sh -c "! grep -qF '>copy<' $seven/length.svg"
    expect "a map has its characters" grep -qF '>·<' $seven/attention.svg
    mv two first
    mkdir two
    (cd first && find . -name '*.csv') | while read -r table; do
        mkdir -p "two/$(dirname "$table")" && cp "first/$table" "two/$table"
    done
    sh "$root/plots/run.sh" two >said 2>&1
    expect "drawn again, the bytes are the same" diff -r first two

    # Those of chapter 08, whose tasks have folders of their own, and of the closing league.
    eight=three/08_transformer_mask/words
    mkdir -p $eight three/league three/06_seq2seq three/07_attention
    cp first/06_seq2seq/length.csv three/06_seq2seq
    cp first/07_attention/length.csv three/07_attention
    cat >$eight/length.csv <<'END'
model,task,hidden,length,pairs,exact
transformer,to_digits,64,10.5,40,1
transformer,to_digits,64,20.5,40,0.75
END
    cat >$eight/masks.csv <<'END'
mask,row,column,seen
causal,0,0,1
causal,0,1,0
causal,1,0,1
causal,1,1,1
"causal, cached",0,0,1
END
    cat >$eight/attention.csv <<'END'
model,example,row,output,column,input,weight
block 1 head 1,1,0,a,0,a,0.25
block 1 head 1,1,0,a,1,_,0.125
block 1 head 1,1,1,_,0,a,0.25
block 1 head 1,1,1,_,1,_,0.375
"block 1, head 2",1,0,a,0,a,0.25
"block 1, head 2",1,0,a,1,_,0.125
"block 1, head 2",1,1,_,0,a,0.25
"block 1, head 2",1,1,_,1,_,0.375
END
    cat >$eight/warmup.csv <<'END'
norm,warmup,step,loss
pre,0,10,5
pre,0,20,4
post,10,10,6
post,10,20,nan
END
    cat >$eight/gaps.csv <<'END'
model,sees,gaps,accuracy
5-gram,left,100,0.5
gpt,left,100,0.625
bert,both,100,0.75
END
    cat >three/league/closing.csv <<'END'
task,at,model,parameters,steps,seconds,measure,value
quijote,equal seconds,gru,400000,1000,60,bits,2.125
quijote,equal seconds,gpt,800000,500,60.5,bits,2.0625
to_digits,,transformer,150000,2000,100,exact,0.75
END
    sh "$root/plots/run.sh" three >said 2>&1
    expect "chapter 08 is drawn: $(tail -n 1 said)" test $? -eq 0
    for form in $eight/length $eight/masks $eight/attention $eight/warmup $eight/gaps three/league/closing; do
        expect "$form has a PNG" begins_with "$form.png" "$(printf '\211PNG')"
        expect "$form has an SVG" grep -q '</svg>' "$form.svg"
    done
    expect "08 has its own lines" grep -qF '>transformer, width 64<' $eight/length.svg
    expect "and 06's of its widest network" grep -qF '>seq2seq, width 32<' $eight/length.svg
    expect "not of another" sh -c "! grep -qF 'width 16' $eight/length.svg"
    expect "and 07's" grep -qF '>attention_dot, width 32<' $eight/length.svg
    expect "not of a task that 08 has not" sh -c "! grep -qF '>copy<' $eight/length.svg"
    expect "a mask has its name" grep -qF '>causal, cached<' $eight/masks.svg
    expect "the only example has no number" grep -qF '>block 1, head 2<' $eight/attention.svg
    expect "small weights have a scale of their own" grep -qF '>0.25<' $eight/attention.svg
    expect "a letter looks at letters" grep -qF 'who is looked at' $eight/attention.svg
    expect "a loss that is lost is called so" grep -qF '>post, warm-up 10, diverged<' $eight/warmup.svg
    expect "a bar has its number" grep -qF '>62.5 %<' $eight/gaps.svg
    expect "shares have a standard error" grep -qF 'at most 5.0 %' $eight/gaps.svg
    for label in 'Quijote, equal seconds' 2.062 '60 s, 400 k' 'to digits' '75.0 %'; do
        expect "the league has the label" grep -qF ">$label<" three/league/closing.svg
    done

    # Each of them broken: one line for each file, which names it, and status 2, from one run for all.
    broken=0 from=first
    spoil() { # NAME SED-SCRIPT WHAT IS EXPECTED IN THE LINE: the last NAME.csv below $from, altered
        broken=$((broken + 1))
        mkdir -p "bad/$broken"
        sed "$2" "$(find $from -name "$1.csv" | sort | tail -n 1)" >"bad/$broken/$1.csv"
        echo "bad/$broken/$1.csv: .*$3" >>patterns
    }
    for form in accuracy length forcing branches kernels attention; do
        spoil $form 's/^[^,]*,//' 'row 1: expected the header'
        spoil $form '3s/[^,]*$/many/' 'row 3, column .*many'
        spoil $form '1!d' 'row 2: expected a row of data'
    done
    for form in branches kernels attention; do spoil $form '2s/[^,]*$/nan/' 'row 2, column .*nan'; done
    for form in accuracy length forcing branches attention; do spoil $form '2s/[^,]*$/1.5/' 'row 2, column .*share'; done
    spoil attention '3d' 'expected a weight for row 0 and column 1'
    spoil attention '2s/,0,2,/,first,2,/' 'row 2, column row'
    spoil kernels '2s/boxcar/box/' 'row 2, column series'
    spoil length 's/,40,/,4,/' '10 pairs or more'
    spoil predictions 's/,answer,/,/' 'row 1: expected the header task,scaling'
    from=three
    for form in masks warmup gaps closing; do
        spoil $form 's/^[^,]*,//' 'row 1: expected the header'
        spoil $form '3s/[^,]*$/many/' 'row 3, column .*many'
        spoil $form '1!d' 'row 2: expected a row of data'
    done
    for form in masks gaps closing; do spoil $form '2s/[^,]*$/nan/' 'row 2, column .*nan'; done
    spoil masks '3d' 'causal: expected row 0 and column 1'
    spoil masks '2s/,0,0,/,0,one,/' 'row 2, column column'
    spoil warmup '2s/pre/before/' 'row 2, column norm'
    spoil warmup 's/[^,]*$/nan/; 1s/nan/loss/' 'a finite loss'
    spoil gaps '2s/left/right/' 'row 2, column sees'
    spoil gaps '2s/[^,]*$/1.5/' 'row 2, column accuracy.*share'
    spoil closing '2s/quijote/copy/' 'row 2, column task'
    spoil closing '2s/bits/nats/' 'row 2, column measure'
    spoil closing '4s/[^,]*$/1.5/' 'to_digits, transformer: expected a share'
    sh "$root/plots/run.sh" bad >said 2>&1
    expect "broken tables of 06 to 08 have status 2" test $? -eq 2
    expect "each costs one line, and nothing is drawn" test "$(wc -l <said)" -eq $broken
    while read -r pattern; do expect "said: $pattern" grep -q "$pattern" said; done <patterns
    sed -i.old 's/,40,/,forty,/' $six/length.csv
    sh "$root/plots/run.sh" $seven >said 2>&1
    expect "07 names 06's table where that is broken" grep -q '07_attention/length.csv: in .*06_seq2seq/length.csv.*forty' said
fi

tally="$passed passed, $failed failed"
[ $skipped -gt 0 ] && tally="$tally, $skipped skipped"
echo "$tally"
[ $failed -eq 0 ]
