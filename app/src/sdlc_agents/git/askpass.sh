#!/bin/sh
# What git runs to ask for a password (GIT_ASKPASS). Answers for one origin only, so that a redirect to another host
# gets nothing. The two variables are in the environment of that git process alone.
if [ "$1" = "Password for '${SDLC_GIT_ORIGIN}': " ]; then
    printf '%s\n' "${SDLC_GIT_SECRET}"
else
    exit 1
fi
