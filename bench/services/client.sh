# Sourced by every exercise and check: what they know of the container, and how they wait for it.
#
# They run on the host with the container's name as first argument; LITHIFY_ENGINE, LITHIFY_ADDRESS and LITHIFY_PID
# say where it runs. Nothing here retries past the container's death, so that a failing start fails at once.
# shellcheck shell=bash
set -euo pipefail

# Say on stderr what was wrong, and end.
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

[ -d "/proc/${LITHIFY_PID:-0}" ] || fail "the container does not run"
ADDRESS=${LITHIFY_ADDRESS:-${ADDRESS:-}}
[ -n "$ADDRESS" ] || fail "the container has no address"
CURL=(curl --silent --show-error --fail --max-time 15)

# Tell whether the container's first process is still there.
alive() {
    [ -d "/proc/${LITHIFY_PID:?}" ]
}

# Repeat a command until it succeeds: until_works SECONDS COMMAND...
until_works() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        alive || fail "the container ended before '$*' worked"
        [ "$SECONDS" -lt "$end" ] || fail "'$*' did not work in time"
        sleep 0.2
    done
}

# Tell whether the container accepts connections at a port.
listens() {
    (exec 3<> "/dev/tcp/$ADDRESS/$1") 2> /dev/null
}

# Fetch a path of the container's web server: get PORT PATH [CURL OPTION...]
get() {
    local port=$1 path=$2
    shift 2
    "${CURL[@]}" "$@" "http://$ADDRESS:$port$path"
}

# Run a command in the container as its root, with the container's environment and nothing of the host's.
inside() {
    case ${LITHIFY_ENGINE:-} in
    docker | podman) "$LITHIFY_ENGINE" exec --user 0 "${LITHIFY_CONTAINER:?}" "$@" ;;
    *)
        # as an engine's exec does, with the variables that the container was started with
        local environment
        mapfile -d '' -t environment < "/proc/${LITHIFY_PID:?}/environ"
        nsenter --target "$LITHIFY_PID" --mount --uts --ipc --net --pid --root --wd -- env -i "${environment[@]}" "$@"
        ;;
    esac
}

# Say whether what the exercise left has to be there: after it, after a restart, and in the container that comes next.
marker_expected() {
    case ${LITHIFY_PHASE:-} in
    exercised | restarted | recreated) true ;;
    *) [ "${LITHIFY_EXPECT_MARKER:-0}" = 1 ] ;;
    esac
}

# Compare an answer with what it should be: expect WHAT GOT WANTED
expect() {
    [ "$2" = "$3" ] || fail "$1: got '$2', not '$3'"
}
