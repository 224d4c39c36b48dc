#!/bin/sh
# Downloads Don Quijote (Project Gutenberg, text 2000, public domain) to the file named by the first argument. Its licence
# header and footer are cut off at their START and END lines, and what is left is checked before it is put in place.
# QUIJOTE_URL names another place to get it from.
set -eu
to=${1:?the file to write is missing}
url=${QUIJOTE_URL:-https://www.gutenberg.org/cache/epub/2000/pg2000.txt}

fail() { echo "quijote: $1" >&2; rm -f "$to.partial" "$to.raw"; exit 2; }

if [ -s "$to" ]; then echo "quijote: $to is there already"; exit 0; fi
mkdir -p "$(dirname "$to")"
if command -v curl >/dev/null 2>&1; then
    curl -fsL --retry 2 -o "$to.raw" "$url" || fail "$url could not be downloaded with curl; download it by hand to $to"
elif command -v wget >/dev/null 2>&1; then
    wget -q -O "$to.raw" "$url" || fail "$url could not be downloaded with wget; download it by hand to $to"
else
    fail "neither curl nor wget is here; download $url by hand to $to"
fi
tr -d "\r" <"$to.raw" |
    awk '/^\*\*\* ?START OF/ { inside = 1; next } /^\*\*\* ?END OF/ { inside = 0 } inside' >"$to.partial"
grep -q 'En un lugar de la Mancha, de cuyo nombre' "$to.partial" || fail "what came from $url is not Don Quijote"
[ "$(wc -c <"$to.partial")" -gt 2000000 ] || fail "what came from $url is cut short: $(wc -c <"$to.partial") bytes"
mv "$to.partial" "$to"
rm -f "$to.raw"
echo "quijote: $to, $(wc -c <"$to") bytes"
