/* Files of the host, below a directory descriptor.
 *
 * Paths are relative, given with their length: names with one slash between; empty names, "." and ".." are -EINVAL.
 * Length 0 is the directory itself.  The last component is never followed if it is a link; that none before it is
 * followed is up to the tree (a MOUNT_ATTR_NOSYMFOLLOW clone), except where RESOLVE_NO_SYMLINKS is said.
 * Everything returns what the kernel does, or -errno. */

struct pysc_attributes { /* pysc.cabi.linux.attributes holds the same layout */
    uint64_t dev, ino, rdev, size, blocks;
    int64_t atime, mtime, ctime, btime; /* ns */
    uint32_t mode, nlink, uid, gid, blksize, flags;
    uint64_t mnt_id;
};

/* One record of a listing: this, then the attributes if there are any, then the name, padded with zeros to 8. */
struct pysc_entry {
    uint64_t ino;
    uint64_t cookie; /* where to go on after this entry */
    uint16_t size;   /* of the whole record */
    uint8_t type;    /* DT_* */
    uint8_t name_length;
    uint8_t has_attributes;
    uint8_t zero[3];
};

int32_t pysc_statx(int32_t dirfd, const char *path, uint64_t length, struct pysc_attributes *out);

/* Device and inode number of an open file, and S_IF*, by what is known here: no server is asked. */
int32_t pysc_identity(int32_t fd, uint64_t out[3]);

/* Attributes of each component after the first `skip` bytes (which end in a slash) in turn, at most `max`; stops after a
 * link or anything else that is no directory.  Returns how many there are; *error is the errno that ended it, or 0. */
int32_t pysc_walk(int32_t dirfd, const char *path, uint64_t length, uint64_t skip, struct pysc_attributes *out,
                  uint32_t max, int32_t *error);

/* openat(2) for reading with O_NOFOLLOW and O_CLOEXEC added: nothing that creates, writes or truncates. */
int32_t pysc_open_read(int32_t dirfd, const char *path, uint64_t length, uint32_t flags);

/* openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS and O_NOFOLLOW, O_CLOEXEC added. */
int32_t pysc_open_beneath(int32_t dirfd, const char *path, uint64_t length, uint64_t flags, uint64_t mode);

int64_t pysc_readlink(int32_t dirfd, const char *path, uint64_t length, void *target, uint64_t size);

/* List an open directory from `cookie` on (0: the beginning), without "." and ".."; moves the descriptor's offset.
 * Returns the bytes of whole records in `out`; *next is where to go on, *end whether nothing is left. */
int64_t pysc_list(int32_t fd, uint64_t cookie, int32_t with_attributes, void *out, uint64_t size, uint64_t *next,
                  int32_t *end);

/* Check that `data` is nothing but whole, well-formed records: their number, or -EBADMSG. */
int64_t pysc_check_listing(const void *data, uint64_t size);

/* preadv2 and pwritev2 of one buffer; offset -1 is the descriptor's own.  `flags` are RWF_*. */
int64_t pysc_pread(int32_t fd, void *buffer, uint64_t size, int64_t offset, int32_t flags);
int64_t pysc_pwrite(int32_t fd, const void *buffer, uint64_t size, int64_t offset, int32_t flags);

/* Of the object itself if `name` is "", which may be open with O_PATH. */
int32_t pysc_chown(int32_t dirfd, const char *name, uint32_t uid, uint32_t gid);
int32_t pysc_chmod(int32_t fd, const char *name, uint32_t mode);

/* utimensat(2) of a name, never followed, or of the descriptor if `name` is "".  `choice` of each: 0 omit, 1 set, 2 now. */
int32_t pysc_utimens(int32_t dirfd, const char *name, int64_t atime, int32_t atime_choice, int64_t mtime,
                     int32_t mtime_choice);
int32_t pysc_rename(int32_t old_dirfd, const char *old_name, int32_t new_dirfd, const char *new_name, uint32_t flags);
int32_t pysc_allocate(int32_t fd, int32_t mode, int64_t offset, int64_t length);

/* type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags */
int32_t pysc_statfs(int32_t fd, uint64_t out[10]);
