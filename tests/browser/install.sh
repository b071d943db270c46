#!/usr/bin/env bash
# Installs what tests/browser needs of Debian or Ubuntu and this machine has not: Chromium, and a font for it to write in.
# (Playwright would download a browser of its own; the system's is enough, and packages are signed.)
set -euo pipefail

packages=()
need() { # package, program or file...
    for found in "${@:2}"; do
        if command -v "$found" >/dev/null || [ -e "$found" ]; then return; fi
    done
    packages+=("$1")
}
need chromium chromium chromium-browser google-chrome
need fonts-liberation /usr/share/fonts/truetype/liberation /usr/share/fonts/truetype/liberation2
if ((${#packages[@]} == 0)); then exit; fi

command="apt-get install -y --no-install-recommends ${packages[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make browser-test needs ${packages[*]}; as root: $command" >&2
    exit 2
fi
echo "installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
$command >/dev/null || { apt-get update >/dev/null && $command >/dev/null; } # lists of packages may be missing or old
