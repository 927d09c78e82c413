# What the checks are made of. Sourced by `inside`.

passed=0
failed=0

# check NAME FUNCTION [ARGUMENT...]: runs the function by itself, with errexit, and says how it went. What it prints is
# only shown when it fails.
check() {
    local name=$1 output status
    shift
    set +e
    output=$(
        set -e
        "$@" 2>&1
    )
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        sed 's/^/    /' <<<"$output"
    fi
}

# note TEXT: a figure or a circumstance, no verdict.
note() {
    echo "-- $*"
}

# The last line, and the exit status.
summary() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

# equals WHAT GOT WANTED
equals() {
    [ "$2" = "$3" ] || {
        echo "$1: got \"$2\", wanted \"$3\""
        return 1
    }
}

# matches WHAT GOT REGEX
matches() {
    [[ $2 =~ $3 ]] || {
        echo "$1: got \"$2\", wanted something like \"$3\""
        return 1
    }
}

# within SECONDS COMMAND...: asks until the answer is yes; the bound is for a machine that is busy.
within() {
    local limit=$1 until
    shift
    until=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$until" ]; then
            echo "not within $limit s: $*"
            return 1
        fi
        sleep 0.05
    done
}

# milliseconds: of a clock that only counts.
milliseconds() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

# property NAME: of mcpd.service, as systemd sees it.
property() {
    systemctl show --property "$1" --value mcpd.service
}

# A value of a JSON document on stdin, the first of this name: text without its quotes, numbers, null.
json() {
    grep -oE "\"$1\" ?: ?(\"[^\"]*\"|[^,} ]+)" | head -n 1 | sed -E 's/^"[^"]*" ?: ?"?//; s/"$//'
}

# service NAME KEY: what mcpctl knows of a service, of its own keys only, not of those of its last crash. A service that
# is not up makes mcpctl's exit status 3.
service() {
    { mcpctl status "$1" --json || true; } | grep -E '^  "' | json "$2"
}

# service_is NAME KEY VALUE
service_is() {
    [ "$(service "$1" "$2")" = "$3" ]
}

# journal MATCH...: what systemd's journal has of mcpd since the last mark.
journal() {
    journalctl --sync
    journalctl --unit mcpd --no-pager --quiet ${mark:+--since "$mark"} "$@"
}

# journal_has REGEX MATCH...
journal_has() {
    local regex=$1
    shift
    journal "$@" | grep -E "$regex" >/dev/null
}

# From here on `journal` begins. A time, for --after-cursor passes over the first entry that matches when that is not the
# cursor's own (systemd 252).
set_mark() {
    mark=$(date +@%s.%6N)
}

# copies REGEX: how many processes of the machine have such a command line.
copies() {
    pgrep --full --count -- "$1" || true
}
