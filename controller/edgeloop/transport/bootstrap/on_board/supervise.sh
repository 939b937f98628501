#!/bin/sh
# Keeps the agent running where no systemd does: supervise ROOT, then the agent's arguments. Ends it on SIGTERM.
root=$1
shift
child=
trap 'trap - TERM; [ -n "$child" ] && kill "$child" 2>/dev/null && wait "$child"; rm -f "$root/run/supervisor.pid"; exit 0' TERM
echo $$ > "$root/run/supervisor.pid"
while :; do
  [ -f "$root/run/agent.log" ] && mv -f "$root/run/agent.log" "$root/run/agent.log.1"
  "$root/agent/current/bin/edgeloop-agent" "$@" > "$root/run/agent.log" 2>&1 &
  child=$!
  wait "$child"
  sleep 2 &
  child=$!
  wait "$child"
done
