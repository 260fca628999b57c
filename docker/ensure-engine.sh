#!/bin/sh
# Make sure that a container engine answers on this machine.
#
# An engine that answers is used as it is; its configuration is never touched. If none answers, the system is Debian or
# Ubuntu and we are root, docker.io is installed and its daemon started detached. Otherwise: exit 2 and the one thing
# that the user must do. Safe to call again and again, and from several processes at once.
set -u

PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"
DAEMON_LOG="${HARNESS_DOCKER_LOG:-/var/log/harness-dockerd.log}"
WAIT_SECONDS="${HARNESS_DOCKER_WAIT:-60}"
STANDARD_SOCKET=/var/run/docker.sock

say() { printf 'engine: %s\n' "$*" >&2; }

fail() { # the problem, and the one thing to do about it
    printf 'error: %s\n  %s\n' "$1" "$2" >&2
    exit 2
}

# Exit 0: an engine answers at the socket. 10: no socket or nobody listens. 11: not allowed. 12: no sensible answer.
# Neither the docker client nor curl need be installed, so Python speaks the one request itself.
ping_engine() {
    python3 - "$1" <<'PYTHON'
import socket
import sys

connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.settimeout(10)
try:
    connection.connect(sys.argv[1])
    connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = connection.recv(64)
except PermissionError:
    sys.exit(11)
except (FileNotFoundError, ConnectionError, NotADirectoryError):
    sys.exit(10)
except OSError:
    sys.exit(12)
status = answer.split()
sys.exit(0 if len(status) > 1 and status[0].startswith(b"HTTP/") and status[1] == b"200" else 12)
PYTHON
}

found() { # the socket at which an engine answers
    say "using the engine at unix://$1"
    exit 0
}

use_named_engine() { # DOCKER_HOST says which engine: that one or none
    case "$DOCKER_HOST" in
    unix://*) ;;
    *) fail "DOCKER_HOST=$DOCKER_HOST is not on this machine, and a remote engine is refused: it could neither mount this machine's folders nor pull from the registry on this machine's loopback" \
        "Unset DOCKER_HOST, or point it to a local socket (unix:///path/to/docker.sock)." ;;
    esac
    socket="${DOCKER_HOST#unix://}"
    ping_engine "$socket"
    case $? in
    0) found "$socket" ;;
    11) fail "you may not use the engine at $DOCKER_HOST" "Become a member of the group that owns $socket, then log in again." ;;
    12) fail "something listens at $DOCKER_HOST, but it does not answer like an engine" "Look at that engine's log, or unset DOCKER_HOST." ;;
    *) fail "no engine answers at DOCKER_HOST=$DOCKER_HOST" "Start that engine, or unset DOCKER_HOST." ;;
    esac
}

look_for_engine() { # the usual sockets (the system's, Docker Desktop's); returns the first one's state
    ping_engine "$STANDARD_SOCKET"
    state=$?
    [ "$state" -eq 0 ] && found "$STANDARD_SOCKET"
    socket="${HOME:-/nonexistent}/.docker/run/docker.sock"
    [ -S "$socket" ] && ping_engine "$socket" && found "$socket"
    return "$state"
}

refuse_where_nothing_can_be_done() { # the standard socket's state
    [ "$1" -eq 11 ] && fail "you may not use the engine at unix://$STANDARD_SOCKET" \
        "Run: sudo usermod -aG docker $(id -un)   and log in again."
    system=$( (. /etc/os-release && printf '%s %s' "${ID:-}" "${ID_LIKE:-}") 2>/dev/null)
    case " $system " in
    *" debian "* | *" ubuntu "*) ;;
    *) fail "no container engine answers, and this system is neither Debian nor Ubuntu" \
        "Install and start Docker (on a Mac: Docker Desktop), then run this again." ;;
    esac
    [ "$(id -u)" -eq 0 ] || fail "no container engine answers, and only root can install and start one" \
        "Run: sudo $0"
}

install_daemon() {
    command -v dockerd >/dev/null && return
    say "installing docker.io (about 60 MB)"
    install_log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # Debian's own package, without recommends: what it needs to run a container is among its dependencies.
    if ! { apt-get -o DPkg::Lock::Timeout=120 update &&
        apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends docker.io; } >"$install_log" 2>&1 9>&-; then
        tail -n 15 "$install_log" >&2
        fail "apt-get could not install docker.io (its log: $install_log)" \
            "Make 'apt-get update' and 'apt-get install docker.io' work, then run this again."
    fi
    rm -f "$install_log"
}

is_alive() { # pid, program: does that process run? A zombie is gone, and a pid may have been given to another program
    [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] || return 1
    ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null
}

clear_stale_pid() { # pid file, program: a daemon that was killed leaves the file, and the next one refuses to start
    [ -s "$1" ] || return 0
    pid=$(tr -dc 0-9 <"$1")
    [ -n "$pid" ] && is_alive "$pid" "$2" && return 0
    say "clearing $1, left by a $2 that is gone"
    rm -f "$1"
}

start_daemon() {
    if [ -d /run/systemd/system ]; then
        DAEMON_LOG='journalctl -u docker'
        say "starting the docker service"
        systemctl start docker 9>&- || fail "systemd could not start docker" "Look at: journalctl -u docker"
        return
    fi
    clear_stale_pid /var/run/docker.pid dockerd
    clear_stale_pid /var/run/docker/containerd/containerd.pid containerd
    if [ -s /var/run/docker.pid ]; then
        say "a daemon is running but does not answer yet"
        return
    fi
    say "starting dockerd (log: $DAEMON_LOG)"
    # Its own session, and no descriptor of ours: it outlives this script, the terminal and whoever waits for our output.
    setsid dockerd </dev/null >>"$DAEMON_LOG" 2>&1 9>&- &
    daemon=$!
}

wait_for_daemon() {
    waited=0
    while ! ping_engine "$STANDARD_SOCKET"; do
        if [ -n "$daemon" ] && ! kill -0 "$daemon" 2>/dev/null; then
            tail -n 15 "$DAEMON_LOG" >&2
            fail "dockerd ended before it answered" "The reason is at the end of $DAEMON_LOG, quoted above."
        fi
        if [ "$waited" -ge "$WAIT_SECONDS" ]; then
            [ -f "$DAEMON_LOG" ] && tail -n 15 "$DAEMON_LOG" >&2
            fail "the docker daemon did not answer at $STANDARD_SOCKET within $WAIT_SECONDS s" "Look at its log: $DAEMON_LOG"
        fi
        [ $((waited % 10)) -eq 9 ] && say "still waiting for the daemon ($((waited + 1)) s)"
        sleep 1
        waited=$((waited + 1))
    done
}

command -v python3 >/dev/null || fail "python3 is not on PATH" "Install Python 3.11 or newer."
[ -n "${DOCKER_HOST:-}" ] && use_named_engine
look_for_engine
refuse_where_nothing_can_be_done $?

# One at a time: the second finds the engine that the first one started.
exec 9>/run/lock/harness-ensure-engine.lock || fail "/run/lock cannot be written" "Make /run/lock writable."
flock -w 600 9 || fail "another process has been setting up the engine for ten minutes" "End it, then run this again."
look_for_engine

daemon=
install_daemon
look_for_engine # the package's own scripts may have started it
start_daemon
wait_for_daemon
found "$STANDARD_SOCKET"
