/* Owners and modes that a host's inode cannot have, kept beside it in the extended attribute user.pysc.owner.
 *
 * For a caller without root: its files are shown as root's (uid 0 of its user namespace).  The attribute counts only
 * where nobody else on the host could have written it: on regular files and directories of the caller's that neither
 * group nor others may write to.  What does not parse is as good as absent. */

struct pysc_owner {
    uint32_t uid, gid, mode; /* the mode without the type */
};

/* Parse the attribute's value, "UID:GID:MODE": decimals without leading zeros below 2^32 - 1, four octal digits.
 * 0, or -EINVAL. */
int32_t pysc_parse_owner(const char *text, uint64_t length, struct pysc_owner *out);

/* Put what is kept with an open file (not O_PATH) into its attributes.  0 or -errno. */
int32_t pysc_show_owner(int32_t fd, struct pysc_attributes *attributes);

/* The same of a file that is looked for below a directory; -ESTALE if it is no more the one that has the attributes.
 * Of what may not be opened the attributes stay as they are: so it was when nothing could be kept with it. */
int32_t pysc_show_owner_at(int32_t dirfd, const char *path, uint64_t length, struct pysc_attributes *attributes);
