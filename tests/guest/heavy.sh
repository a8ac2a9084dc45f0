#!/bin/sh
# Runs inside a Debian guest: uses programs that put a file system to the test in a directory, and checks what they leave.
#
#   heavy.sh DIR [STEP...]     small | npm | postgres (default: all)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
directory=$1
shift
cd "$directory"
export HOME=/root

fail() { echo "heavy: $*" >&2; exit 1; }

# Says how long a step takes, on a clock with hundredths of a second.
step() {
    local began ended
    began=$(cut -d ' ' -f 1 /proc/uptime)
    "$@"
    ended=$(cut -d ' ' -f 1 /proc/uptime)
    echo "$1 $(awk "BEGIN { print $ended - $began }") s"
}

npm_ci() {
    mkdir npm
    cp -r /npm/cache npm/cache
    cp /npm/package.json /npm/package-lock.json npm/
    cd npm
    node /npm/npm/bin/npm-cli.js ci --offline --cache "$PWD/cache" --no-audit --no-fund --no-update-notifier >log 2>&1 ||
        { tail -n 20 log >&2; fail "npm ci failed"; }
    (cd node_modules && sha256sum --quiet -c /npm/expected) || fail "npm ci has installed other files"
    [ "$(cd node_modules && find . -type f ! -name .package-lock.json | wc -l)" -eq "$(wc -l </npm/expected)" ] ||
        fail "npm ci has installed more files"
    # Links to programs.
    [ "$(./node_modules/.bin/semver 1.2.3 0.1.0 -r '>=1')" = 1.2.3 ] || fail "semver answers something else"
    echo 'it("passes", () => {})' >test.js
    ./node_modules/.bin/mocha test.js >log 2>&1 || fail "mocha: $(cat log)"
    cd ..
    ./npm/node_modules/.bin/rimraf npm/cache
    [ ! -e npm/cache ] || fail "rimraf has left something"
}

npm_rm() { rm -rf npm; }

# Runs a program of PostgreSQL as its user.
postgres() {
    local program=$1
    shift
    setpriv --reuid postgres --regid postgres --clear-groups -- "$(echo /usr/lib/postgresql/*/bin)/$program" "$@"
}

sql() { postgres psql -h /tmp -U postgres -qAt -c "$1"; }

start() {
    postgres pg_ctl -D "$PWD/pg/data" -w -t 600 -o "-k /tmp -c listen_addresses=''" -l "$PWD/pg/log" start >/dev/null ||
        { tail -n 20 pg/log >&2; fail "PostgreSQL does not start"; }
}

stop() { postgres pg_ctl -D "$PWD/pg/data" -w -t 600 -m "$1" stop >/dev/null; }

# What all transactions have added up.
check() {
    [ "$(sql 'SELECT count(*) FROM pgbench_accounts')" = 100000 ] || fail "accounts are missing"
    local sums
    sums=$(sql 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT count(*) FROM pgbench_history)')
    [ "$sums" = "t|t|$1" ] || fail "the sums differ: $sums"
}

pg_initdb() {
    install -d -o postgres -g postgres -m 700 pg
    postgres initdb -D "$PWD/pg/data" -k --auth trust -U postgres >pg.log || { cat pg.log >&2; fail "initdb failed"; }
    rm pg.log
    start
}

pg_fill() { postgres pgbench -h /tmp -U postgres -q -i -s 1 >/dev/null 2>&1 || fail "pgbench -i failed"; }

pg_bench() {
    postgres pgbench -h /tmp -U postgres -c 4 -t 50 >pgbench.log 2>&1 || { cat pgbench.log >&2; fail "pgbench failed"; }
    rm pgbench.log
    check 200
}

# A stop without a shutdown: the next start recovers from the write-ahead log.
pg_recover() {
    stop immediate
    start
    check 200
    stop fast
    postgres pg_checksums --check -D "$PWD/pg/data" >/dev/null || fail "checksums differ"
}

pg_rm() { rm -rf pg; }

small() { sh "$here/tools.sh" "$directory" 200; }

[ $# -gt 0 ] || set -- small npm postgres
for name; do
    case $name in
        small) small ;;
        npm)
            step npm_ci
            step npm_rm
            ;;
        postgres)
            for part in pg_initdb pg_fill pg_bench pg_recover pg_rm; do step "$part"; done
            ;;
        *) fail "there is no step '$name'" ;;
    esac
done
[ -z "$(ls -A)" ] || fail "left in $directory: $(ls -A)"
