"""PostgreSQL, as Debian packs it: a cluster is made, serves several at once, loses a process, and is stopped.

Once with the little System V memory by which it knows whether it runs, once with all its shared memory of that kind.
"""

# A script is clearer in one line.
# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.needs import missing
from tests.support.sandbox import Sandbox, on_host

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
ORDINARY = 'if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -c "$SCRIPT"; fi; eval "$SCRIPT"'

SCRIPT = r"""
set -eu
d=$(mktemp -d /tmp/pysc-test.XXXXXX)
end() { s=$?; pg_ctl -D $d/data -m immediate stop >/dev/null 2>&1 || :; [ $s = 0 ] || cat $d/log >&2; cd /; rm -rf $d; exit $s; }
trap end 0
cd $d
export HOME=$d PGHOST=$d PGDATABASE=postgres PGUSER=tester LC_ALL=C TZ=UTC
initdb -D data -A trust --no-sync --no-locale -U tester >log 2>&1
printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$d'" "fsync = off" "$SETTINGS" >>data/postgresql.conf
pg_ctl -D data -l log -s -w -t 40 start
main=$(head -n 1 data/postmaster.pid)
segments() { awk -v pid=$main 'NR > 1 && $5 == pid' /proc/sysvipc/shm | wc -l; }
echo "segments: $(segments)"

psql -qAt -v ON_ERROR_STOP=1 <<END
create table words (id serial primary key, word text not null unique);
insert into words (word) select 'word ' || n from generate_series(1, 5000) n;
begin; delete from words where id > 10; rollback;
select count(*), min(word), max(id) from words;
create index on words (length(word));
analyze words;
select sum(id) from words where length(word) = 6;
set max_parallel_workers_per_gather = 2;
set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; set enable_indexscan = off;
set enable_indexonlyscan = off; set enable_bitmapscan = off;
explain (costs off) select count(*) from words where word like '%7';
select count(*) from words where word like '%7';
END
psql -qAt -c 'select 1 / 0' 2>&1 || echo "status $?"

pgbench -i -q -s 1 >bench 2>&1 || { cat bench; exit 1; }
pgbench -n -c 4 -j 2 -T 3 >bench 2>&1 || { cat bench; exit 1; }
grep -E '^number of (clients|threads|failed)' bench
psql -qAt -c 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), count(*) > 20 from pgbench_history'

psql -qAt -c 'select pg_sleep(50)' >/dev/null 2>&1 & waiting=$!
until psql -qAt -c "select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(50)'" | grep -q t; do :; done
wait $waiting || echo "cancelled: $?"
kill -KILL $(psql -qAt -c "select pid from pg_stat_activity where backend_type = 'checkpointer'") # all begin anew
until psql -qAt -c 'select count(*) from words' 2>/dev/null; do sleep 0.1; done
echo "segments: $(segments)"
pg_ctl -D data -m fast -s -w stop
echo "segments: $(segments)"
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "settings", ["", "shared_memory_type = sysv\ndynamic_shared_memory_type = sysv\n"], ids=["default", "sysv"]
)
def test_it_serves_as_on_the_host(settings: str, sandbox: Sandbox) -> None:
    if not BINARIES:
        missing("PostgreSQL is not installed")
    path = f"{BINARIES[-1].parent}:/usr/bin:/bin"
    command = ("/usr/bin/env", f"PATH={path}", f"SETTINGS={settings}", f"SCRIPT={SCRIPT}", "/bin/bash", "-c", ORDINARY)
    native = on_host(*command, timeout=60)
    assert native.status == 0, native.explain()
    ran = sandbox.run(*command, timeout=120)
    assert (ran.status, ran.text) == (0, native.text), ran.explain()
