#!/bin/sh
# Says which machine it was built on and which it runs on: under emulation both are the image's own.
echo "${GREETING} ${1:-a container}: built on $(cat /srv/machine), runs on $(uname -m)"
