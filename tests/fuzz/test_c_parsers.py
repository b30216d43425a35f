"""The C parsers of packed records and paths, compiled with the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "cabi" / "shim"

HARNESS = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include "host.cdef.h"
#include "path.h"

static uint64_t state = 88172645463325252u;

static uint64_t
next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Whole records of a real listing, then changed here and there, in a buffer that ends where the data does. */
static void
listings(int fd)
{
    static uint8_t original[4096];
    uint64_t cookie = 0;
    int32_t end;
    int64_t size = pysc_list(fd, 0, 1, original, sizeof original, &cookie, &end);
    if (size <= 0 || pysc_check_listing(original, (uint64_t)size) <= 0)
        abort();
    for (int round = 0; round < 200000; round++) {
        uint64_t length = next() % 4 ? (uint64_t)size : next() % ((uint64_t)size + 1);
        uint8_t *copy = malloc(length ? length : 1);
        memcpy(copy, original, length);
        for (uint64_t changes = next() % 6; changes && length; changes--)
            copy[next() % length] = (uint8_t)next();
        pysc_check_listing(copy, length);
        free(copy);
    }
}

/* Every size of buffer: nothing is written behind it. */
static void
sizes(int fd)
{
    for (uint64_t size = 0; size < 1200; size++) {
        uint8_t *out = malloc(size ? size : 1);
        uint64_t cookie = next() % 3 ? 0 : next() >> (next() % 64);
        int32_t end;
        pysc_list(fd, cookie, (int32_t)(next() & 1), out, size, &cookie, &end);
        free(out);
    }
}

static void
paths(int fd)
{
    static const char letters[] = "ab./\0\xff";
    struct pysc_attributes found[8];
    int32_t error;
    for (int round = 0; round < 20000; round++) {
        uint64_t length = next() % 20 ? next() % 40 : next() % 40000;
        char *path = malloc(length + 1);
        for (uint64_t i = 0; i < length; i++)
            path[i] = letters[next() % (next() % 10 ? 2 : 6)];
        for (uint64_t i = 200; i < length; i += 200)
            path[i] = '/';
        path[length] = 0;
        pysc_statx(fd, path, length, found);
        pysc_walk(fd, path, length, length ? next() % length : 0, found, 8, &error);
        int opened = pysc_open_beneath(fd, path, length, O_PATH, 0);
        if (opened >= 0)
            close(opened);
        opened = pysc_open_read(fd, path, length, O_NONBLOCK);
        if (opened >= 0)
            close(opened);
        free(path);
    }
}

int
main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    listings(fd);
    sizes(fd);
    paths(fd);
    close(fd);
    puts("EXIT-SUCCESS");
    return 0;
}
"""


def sanitized(need: Callable[[str], str], build: Path, harness: str, *sources: str) -> Path:
    """Compile a harness with some of the shim's files."""
    (build / "harness.c").write_text(harness)
    command = [
        need("cc"), "-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-fsanitize=address,undefined", "-Wall",
        "-fno-sanitize-recover=all",
        "-pthread", f"-I{SHIM}", "-o", str(build / "harness"), str(build / "harness.c"),
        *(str(SHIM / source) for source in sources),
    ]  # fmt: skip
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find -lasan" in compiled.stderr:
        pytest.skip("no sanitizers here")
    assert compiled.returncode == 0, compiled.stderr
    return build / "harness"


def test_records_and_paths(need: Callable[[str], str], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("a", "a/b", "b", "a" * 100, "b" * 199):
        (tree / name).mkdir(parents=True)
    harness = sanitized(need, tmp_path, HARNESS, "host.c", "path.c", "attributes.c", "listing.c")
    ran = subprocess.run([harness, tree], capture_output=True, text=True, timeout=50, check=False)
    assert (ran.stdout.strip(), ran.returncode) == ("EXIT-SUCCESS", 0), ran.stderr


WORKERS = r"""
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "workers.cdef.h"

int
main(void)
{
    int32_t error;
    for (int round = 0; round < 20; round++) {
        struct pysc_workers *workers = pysc_workers_start(1 + (uint32_t)round % 4, &error);
        if (!workers)
            abort();
        int fd = memfd_create("data", 0);
        uint64_t submitted = 0, reaped = 0;
        struct pysc_result results[16];
        static uint8_t buffers[2000][16];
        while (reaped < 2000) {
            struct pysc_job job = {.id = submitted, .fd = fd, .size = 16, .offset = (int64_t)submitted % 64,
                                   .address = (uintptr_t)buffers[submitted % 2000], .op = 1 + submitted % 4};
            if (submitted < 2000 && pysc_workers_submit(workers, &job) == 0) {
                submitted++;
                continue;
            }
            struct pollfd ready = {.fd = pysc_workers_fd(workers), .events = POLLIN};
            if (poll(&ready, 1, 10000) != 1)
                abort();
            reaped += (uint64_t)pysc_workers_reap(workers, results, 16);
        }
        for (int i = 0; i < 50; i++) {
            struct pysc_job job = {.id = 1, .fd = fd, .op = 3};
            pysc_workers_submit(workers, &job); /* dropped or done: stop() frees either */
        }
        pysc_workers_stop(workers);
        close(fd);
    }
    puts("EXIT-SUCCESS");
    return 0;
}
"""


def test_workers(need: Callable[[str], str], tmp_path: Path) -> None:
    harness = sanitized(need, tmp_path, WORKERS, "workers.c", "host.c", "path.c", "attributes.c")
    ran = subprocess.run([harness], capture_output=True, text=True, timeout=50, check=False)
    assert (ran.stdout.strip(), ran.returncode) == ("EXIT-SUCCESS", 0), ran.stderr
