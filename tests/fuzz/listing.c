/* Listings by fast paths for a guest that writes to its data area all the while, in the channel's last slot. */

#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fast.h"

#define ADDRESS 0x10000000UL
#define SIZE 32768
#define ROUNDS 5000

static struct pysc_objects *objects;
static struct pysc_slot *slot;
static volatile int stopping;

/* Records of all lengths, and of none. */
static void *
scribble(void *nothing)
{
    while (!stopping) {
        for (uint32_t i = 0; i < 4096; i += 2)
            *(volatile uint16_t *)(slot->data + i) = i & 2 ? 0xffff : 0;
    }
    return nothing;
}

static struct pysc_file *
open_directory(const char *path)
{
    int tree = open(path, O_PATH | O_DIRECTORY);
    int64_t cache = pysc_dcache_new(objects, tree, 0, 1, 0), top = pysc_dcache_top(objects, (uint32_t)cache);
    int64_t dentry = pysc_dentry_enter(objects, (uint32_t)top, "a", 1);
    struct pysc_data *data = pysc_data_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_DATA));
    struct pysc_file *file = pysc_file_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_FILE));

    CHECK(tree >= 0 && dentry >= 0 && pysc_dentry_ask(objects, (uint32_t)dentry) == 0);
    data->file = -1;
    file->type = PYSC_FILE_DIRECTORY;
    file->owns = file->references = 1;
    file->object = data->header.index;
    file->generation = data->header.generation;
    pysc_file_place(objects, file, (uint32_t)dentry, 1);
    return file;
}

static void
ask(struct pysc_engine *engine)
{
    slot->kind = PYSC_KIND_SYSCALL;
    slot->nr = SYS_getdents64;
    slot->args[0] = 0;
    slot->args[1] = ADDRESS;
    slot->args[2] = SIZE;
    __atomic_store_n(&slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    pysc_space_channel(engine, 0)->pending[PYSC_SLOTS / 64 - 1] = 1UL << 63;
}

int
main(int argc, char **argv)
{
    struct pysc_engine *engine = pysc_engine_new();
    static struct pysc_event events[64];
    struct pysc_space_ends ends;
    int shared = memfd_create("shared", 0);
    struct pysc_table *table;
    struct pysc_file *file;
    pthread_t scribbler;
    uint64_t one = 1;
    uint32_t thread;

    CHECK(argc == 2);
    objects = pysc_objects_new();
    CHECK(ftruncate(shared, 4096) == 0 && pysc_engine_share(engine, shared) == 0);
    CHECK(pysc_space_new(engine, &ends) == 0);
    thread = (uint32_t)pysc_thread_add(engine, 0, PYSC_SLOTS - 1, 0);
    slot = pysc_thread_slot(engine, thread);
    table = pysc_table_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_TABLE));
    file = open_directory(argv[1]);
    CHECK(pysc_table_put(table, 0, file->header.index, 0) == 0);
    pysc_engine_serve(engine, objects);
    CHECK(pysc_thread_use_table(engine, thread, table->header.index) == 0);
    CHECK(send(ends.guest_socket, &one, 8, MSG_DONTWAIT) == 8 && pysc_wait(engine, 0, events, 64) == 1); /* it is there */
    CHECK(pthread_create(&scribbler, NULL, scribble, NULL) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        if (objects->data[file->object].file >= 0)
            CHECK(lseek(objects->data[file->object].file, 0, SEEK_SET) == 0);
        file->offset = 0;
        ask(engine);
        CHECK(pysc_wait(engine, 0, events, 64) == 0 && slot->turn == PYSC_TURN_GUEST);
        CHECK(slot->n_commands == 2 && slot->commands[0].args[1] == slot->commands[1].args[0]);
        CHECK(slot->commands[0].args[1] <= SIZE && file->offset == 2 + 200);
    }
    /* What another process has listed in part goes on in Python: a new descriptor would begin anew. */
    close(objects->data[file->object].file);
    objects->data[file->object].file = -1;
    ask(engine);
    CHECK(pysc_wait(engine, 0, events, 64) == 1 && events[0].nr == SYS_getdents64 && file->offset == 2 + 200);
    stopping = 1;
    pthread_join(scribbler, NULL);
    pysc_engine_free(engine);
    pysc_objects_free(objects);
    puts("done");
    return 0;
}
