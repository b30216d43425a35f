/* mmap(2) of a file that fast paths opened, or that Python has just let the same process map: a library is mapped piece by
 * piece.  What Python has not heard of it asks for when it shows maps, or copies an address space. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ULL
#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)
#define PASSED (MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE)

/* Whether the mapping goes where nobody has to be asked; `length` is whole pages. */
static int
is_plain_place(const struct space *space, uint64_t address, uint64_t length, uint64_t flags)
{
    if (!length || length > PYSC_TASK_SIZE)
        return 0;
    if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
        return address == 0;
    return address % PAGE == 0 && address_ok(address, length) &&
           (address >= space->attached_end || address + length <= space->attached_start);
}

/* Remember what maps shall call it. */
static int
note_mapped(struct space *space, struct pysc_objects *objects, const struct pysc_file *file, int fd)
{
    struct pysc_mapped mapped = {.dentry = file->dentry - 1, .mount = file->mount};
    struct stat status;

    for (uint32_t i = 0; i < space->n_mapped; i++) {
        if (space->mapped[i].dentry == mapped.dentry && space->mapped[i].mount == mapped.mount)
            return 1;
    }
    if (space->n_mapped == N_MAPPED || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return 0;
    mapped.device = status.st_dev;
    mapped.inode = status.st_ino;
    pysc_dentry_use(objects, mapped.dentry);
    space->mapped[space->n_mapped++] = mapped;
    return 1;
}

/* The first piece of a file of the tree that Python has not seen: it would have nothing to say. */
static int
begin_mapping(struct call *call, struct space *space, const struct pysc_file *file)
{
    const struct pysc_data *data;

    if (file->faced || !file->owns || file->type != PYSC_FILE_REGULAR ||
        !pysc_is_in_tree(call->objects, &call->objects->dentries[file->dentry - 1]))
        return 0;
    data = &call->objects->data[file->object];
    return data->where == PYSC_DATA_HOST && data->file >= 0 &&
           note_mapped(space, call->objects, file, data->file) &&
           pysc_space_note_mapping(call->engine, call->thread->space, file->header.index, data->file,
                                   pysc_mount_executes(call->objects, file->mount)) == 0;
}

static int
is_known(const struct mapping *mapping, const struct pysc_file *file)
{
    return mapping->file == file->header.index + 1 && mapping->generation == file->header.generation;
}

static int
fast_mmap(struct call *call)
{
    const uint64_t *a = call->event->args, prot = a[2], offset = a[5], flags = a[3] & ~(uint64_t)MAP_DENYWRITE;
    const uint64_t length = (a[1] + PAGE - 1) & -PAGE;
    const struct mapping *mapping;
    const struct pysc_file *file;
    struct space *space;
    int64_t index;

    if ((flags & MAP_ANONYMOUS) || !(file = file_at_fd(call, a[4])))
        return HAND_OVER;
    space = space_of(call->engine, call->number);
    mapping = &space->mapping;
    if ((flags & ~(uint64_t)PASSED) || !(flags & MAP_PRIVATE) || (prot & ~(uint64_t)PROT_ALL) || a[1] > PYSC_TASK_SIZE ||
        offset % PAGE || offset >> 62 || !is_plain_place(space, a[0], length, flags))
        return HAND_OVER;
    /* Alone: that the message has been taken shows when another call comes. */
    if (!is_alone(space) || space->sending || (!is_known(mapping, file) && !begin_mapping(call, space, file)) ||
        ((prot & PROT_EXEC) && !mapping->may_execute) || pysc_donate(space->ends.socket, &mapping->fd, 1) != 0)
        return HAND_OVER;
    pysc_command(call->engine, call->number, PYSC_CMD_RECEIVE, 0, 1, 0, 0, 0, 0, 0, 0);
    index = pysc_command(call->engine, call->number, PYSC_CMD_MAP, 0, a[0], length, prot, flags, 0, offset, 0);
    pysc_command(call->engine, call->number, PYSC_CMD_CLOSE, 0, 0, 0, 0, 0, 0, 0, 0);
    return answer_result(call, index);
}

void
serve_mmap(void)
{
    pysc_fast_paths[SYS_mmap] = fast_mmap;
}

void
forget_mapping(struct space *space)
{
    if (space->mapping.file)
        close(space->mapping.fd);
    space->mapping.file = 0;
}

int32_t
pysc_space_take_mapped(struct pysc_engine *engine, uint32_t number, struct pysc_mapped *mapped)
{
    struct space *space = space_at(engine, number);

    if (!space || !space->n_mapped)
        return 0;
    *mapped = space->mapped[--space->n_mapped];
    return 1;
}

void
forget_mapped(struct pysc_engine *engine, struct space *space)
{
    while (space->n_mapped)
        pysc_dentry_leave(engine->objects, space->mapped[--space->n_mapped].dentry);
}

int64_t
pysc_space_note_mapping(struct pysc_engine *engine, uint32_t number, uint32_t index, int32_t fd, int32_t may_execute)
{
    struct space *space = space_at(engine, number);
    struct pysc_file *file = engine->objects ? pysc_file_at(engine->objects, index) : NULL;
    struct mapping *mapping;

    if (!space || !file)
        return -EINVAL;
    mapping = &space->mapping;
    if (mapping->file == index + 1 && mapping->generation == file->header.generation) {
        mapping->may_execute |= may_execute != 0;
        return 0;
    }
    forget_mapping(space);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* what it is of may be replaced (copied up, say) and the number used again */
    if (fd < 0)
        return -errno;
    *mapping = (struct mapping){index + 1, file->header.generation, fd, may_execute != 0};
    return 0;
}
