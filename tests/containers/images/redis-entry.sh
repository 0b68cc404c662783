#!/bin/sh
# The official image is built without the protected mode, in which Redis answers its own machine only.
exec "$@" --protected-mode no
