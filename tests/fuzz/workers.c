/* Jobs of the worker threads, until they are stopped with some left. */

#include "check.h"
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>
#include "workers.cdef.h"

int
main(void)
{
    int32_t error;
    for (int round = 0; round < 20; round++) {
        struct pysc_workers *workers = pysc_workers_start(1 + (uint32_t)round % 4, &error);
        CHECK(workers);
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
            CHECK(poll(&ready, 1, 10000) == 1);
            reaped += (uint64_t)pysc_workers_reap(workers, results, 16);
        }
        for (int i = 0; i < 50; i++) {
            struct pysc_job job = {.id = 1, .fd = fd, .op = 3};
            pysc_workers_submit(workers, &job); /* dropped or done: stop() frees either */
        }
        pysc_workers_stop(workers);
        close(fd);
    }
    puts("done");
    return 0;
}
