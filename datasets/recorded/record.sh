#!/bin/sh
# Records the page accesses of PostgreSQL under pgbench. Run as root; needs postgresql-15, strace, python3, zstd.
# Usage: record.sh [seconds] [scale] [max accesses]
set -eu
# The user postgres must be able to read this folder (pgbench reads its scripts from it).
here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:-60} scale=${2:-20} keep=${3:-120000}
bin=$(pg_config --bindir)
dir=$(mktemp -d)
chown postgres "$dir"
port=54329
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }

as_postgres "$bin/initdb" -D "$dir/db" -A trust >/dev/null
# The smallest cache there is (128 pages), so that nearly every page access reaches the kernel and is seen.
cat >>"$dir/db/postgresql.conf" <<CONF
port = $port
listen_addresses = ''
unix_socket_directories = '$dir'
shared_buffers = 1MB
max_connections = 20
checkpoint_timeout = 30s
bgwriter_delay = 50ms
jit = off
CONF
as_postgres "$bin/pg_ctl" -D "$dir/db" -l "$dir/log" -w start >/dev/null
as_postgres "$bin/pgbench" -h "$dir" -p $port -i -q -s "$scale" postgres
as_postgres "$bin/pg_ctl" -D "$dir/db" -m fast -w stop >/dev/null

strace -f --seccomp-bpf -u postgres -qq -y -ttt -s 0 -e signal=none -e trace=pread64,pwrite64 \
    -o "$dir/strace" "$bin/postgres" -D "$dir/db" >"$dir/log" 2>&1 &
until as_postgres "$bin/pg_isready" -q -h "$dir" -p $port; do sleep 0.2; done
as_postgres "$bin/pgbench" -h "$dir" -p $port -n -c 4 -j 2 -T "$seconds" --random-seed=42 \
    -b tpcb-like@1 -b select-only@1 -f "$here/skewed.pgbench@6" -f "$here/recent.pgbench@2" postgres
as_postgres "$bin/pg_ctl" -D "$dir/db" -m fast -w stop >/dev/null
wait || true

python3 "$here/reduce.py" "$dir/strace" "$dir/db" "$keep" >"$dir/trace"
zstd -q -f -19 "$dir/trace" -o "$here/pgbench-pages.trace.zst"

rm -r "$dir"
