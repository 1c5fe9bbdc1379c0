#!/bin/sh
# Plays Samba's `net`: the names of host and service say what it answers. What it was called with is noted beside the
# credentials file.
echo "$LC_ALL $*" >>"$(dirname "$8")/calls"
data=$(dirname "$0")
case $4 in
silent*) exec sleep 60 ;;
stranger*) cat "$data/logon.txt" >&2 && exit 255 ;;
closed) cat "$data/refused.txt" >&2 && exit 255 ;;
esac
case ${13} in
Spooler) cat "$data/running.txt" ;;
NETLOGON) cat "$data/stopped.txt" ;;
Secret) cat "$data/denied.txt" >&2 && exit 255 ;;
Changed) cat "$data/logon.txt" >&2 && exit 255 ;;
Stuck*) exec sleep 60 ;;
*) cat "$data/missing.txt" >&2 && exit 255 ;;
esac
