# Images with programs of this machine, on top of the small root file system of the examples. Sourced by make-python,
# make-webstack and tests/add-programs.
#
# An image is current if its file IMAGE.key has the $key of its sources.

# Copies files to the same paths below a root: programs with their libraries, where the programs look for them.
with_libraries() {
    local root=$1 file
    shift
    { printf '%s\n' "$@"; { ldd "$@" 2>/dev/null || true; } | grep -o '/[^ ):]*'; } | sort -u | while read -r file; do
        [ -f "$file" ] || continue
        mkdir -p "$root$(dirname "$file")"
        # A link that is there may lead out of the root.
        cp -L --remove-destination "$file" "$root$file"
    done
}

begin() {
    rm -rf "$1" "$1.key"
    "$(dirname "${BASH_SOURCE[0]}")/make-image" "$1" 2>/dev/null
    printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

finish() {
    chmod -R u+w,go-w "$1"
    chmod 1777 "$1/tmp"
    find "$1" -exec touch --no-dereference --date=@0 {} +
    printf '%s\n' "$key" >"$1.key"
}

is_current() { [ -d "$1" ] && [ "$(cat "$1.key" 2>/dev/null)" = "$key" ]; }
