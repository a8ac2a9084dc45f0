#!/bin/sh
# Runs inside a guest: uses git, tar, rm and SQLite in a directory, and checks what they leave there.
#
#   tools.sh DIR [COUNT]     with 10 files for each of COUNT (default: 5, at least 4)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
directory=$1
count=${2:-5}
cd "$directory"
export HOME=/root GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=tests GIT_AUTHOR_EMAIL=tests@localhost GIT_COMMITTER_NAME=tests GIT_COMMITTER_EMAIL=tests@localhost
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=init.defaultBranch GIT_CONFIG_VALUE_0=main

fail() { echo "tools: $*" >&2; exit 1; }

# Names, kinds, modes, owners, links, sizes and times of all files.
list() { (cd "$1" && find . ! -name . | sort | xargs stat -c '%n %F %a %u:%g %h %s %Y'); }

same() {
    diff -r "$1" "$2" || fail "$1 and $2 have other contents"
    list "$1" >"$1.list"
    list "$2" >"$2.list"
    # A directory's own size is its file system's.
    sed -i 's/\( directory .* \)[0-9]* \([0-9]*\)$/\1\2/' "$1.list" "$2.list"
    cmp "$1.list" "$2.list" || { diff "$1.list" "$2.list" | head -n 20; fail "$1 and $2 differ"; }
    rm "$1.list" "$2.list"
}

tree() {
    mkdir tree
    for name in a b c d e; do
        mkdir -p "tree/$name/sub"
        for file in $(seq "$count"); do
            echo "$name $file" >"tree/$name/$file"
            echo "$name $file once more" >"tree/$name/sub/$file"
        done
        chmod 600 "tree/$name/1"
        chmod 4755 "tree/$name/2"
        chown 1000:1000 "tree/$name/3" "tree/$name/sub"
        ln -s 1 "tree/$name/link"
        ln "tree/$name/4" "tree/$name/sub/hard"
        chmod 2750 "tree/$name/sub"
    done
}

# GNU tar, by its path: the shell of busybox prefers its own, which does not keep the times of directories.
use_tar() {
    /usr/bin/tar -cf tree.tar tree
    mkdir unpacked
    /usr/bin/tar -xpf tree.tar -C unpacked
    same tree unpacked/tree
}

is_clean() { [ -z "$(git -C "$1" status --porcelain)" ] || fail "$1 is not clean: $(git -C "$1" status --porcelain | head)"; }

use_git() {
    git init -q origin
    cp -a tree origin/
    git -C origin add .
    git -C origin commit -q -m first
    is_clean origin
    git clone -q "file://$PWD/origin" clone
    is_clean clone
    diff -r origin/tree clone/tree
    cd clone
    git checkout -q -b work
    echo changed >>tree/a/1
    git mv tree/b/1 tree/b/moved
    git commit -q -a -m second
    git push -q origin work
    git checkout -q main
    [ -e tree/b/1 ] || fail "a file of the other branch is missing"
    git merge -q work
    git gc -q --prune=now
    git fsck --strict --no-progress
    cd ..
    is_clean clone
    [ "$(git -C origin rev-parse work)" = "$(git -C clone rev-parse main)" ] || fail "the pushed branch is another one"
}

use_sqlite() {
    python3 -B "$here/wal.py" "$directory/wal.db"
    rm -f wal.db*
}

use_rm() {
    mkdir deep
    cd deep
    for level in $(seq 100); do
        : >"$level"
        mkdir d
        cd d
    done
    cd "$directory"
    rm -rf deep tree unpacked tree.tar origin clone
    [ -z "$(ls -A)" ] || fail "rm has left: $(ls -A)"
}

# Says how long each step takes, on a clock with hundredths of a second.
step() {
    local began ended
    began=$(cut -d ' ' -f 1 /proc/uptime)
    "$@"
    ended=$(cut -d ' ' -f 1 /proc/uptime)
    echo "$1 $(awk "BEGIN { print $ended - $began }") s"
}

step tree
step use_tar
step use_git
step use_sqlite
step use_rm
echo done
