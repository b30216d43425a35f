/* Host calls that set a process up and lock it down; each returns what the kernel does, or -errno. */
int32_t pysc_unshare(uint64_t flags);
int32_t pysc_setns(int32_t fd, uint64_t type);
int32_t pysc_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int32_t pysc_umount2(const char *target, int32_t flags);
int32_t pysc_pivot_root(const char *new_root, const char *put_old);
int32_t pysc_open_tree(int32_t dirfd, const char *path, uint32_t flags);
int32_t pysc_move_mount(int32_t from_fd, const char *from_path, int32_t to_fd, const char *to_path, uint32_t flags);
int32_t pysc_mount_setattr(int32_t dirfd, const char *path, uint32_t flags, uint64_t set, uint64_t clear);
int32_t pysc_prctl(int32_t option, uint64_t arg2, uint64_t arg3);

/* Try the calls that daemons and guest halves cannot do without, harmlessly.  0, or -errno of one that the kernel does not
 * have or a policy refuses, whose `name` is set. */
int32_t pysc_try_calls(const char **name);

/* Return an entry of the auxiliary vector (getauxval(3)), 0 if there is none. */
uint64_t pysc_auxiliary(uint64_t type);

/* Set all three sets of capabilities of the calling thread to the same masks. */
int32_t pysc_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);

/* Install a filter of `count` struct sock_filter in all threads; no_new_privs or CAP_SYS_ADMIN must be there. */
int32_t pysc_load_filter(const void *program, uint64_t count);

/* Answer ENOSYS to io_uring_setup, _enter and _register from now on. */
int32_t pysc_refuse_io_uring(void);

/* Instructions of filter `index` (0 is the newest) of a stopped tracee into `program`, or only their number if that is NULL. */
int64_t pysc_get_filter(int32_t pid, uint64_t index, void *program);
