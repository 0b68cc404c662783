#!/bin/sh
# Installs the Debian packages named as arguments, without starting their services. Where it may not, one line says what to do.
set -eu

if [ "$(id -u)" != 0 ] && command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then
    exec sudo "$0" "$@"
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Please install these packages (names as in Debian): $*" >&2
    exit 1
fi

# Debian starts a service when its package is installed, unless this file says no. The tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}

echo "Installing with apt-get: $*"
# The lists may be absent or too old to find the packages: fetch them only then.
install "$@" 2>/dev/null || { apt-get update -qq && install "$@"; } || {
    echo "apt-get could not install: $*" >&2
    exit 1
}
