"""What programs may expect of files; prints it, to be compared between host and sandbox.  Runs in an empty folder.

Only what does not differ from run to run is printed: no times of now, no inode numbers.
"""

import errno
import fcntl
import mmap
import os
import shutil
import stat
import sys
import tempfile


def attempt(label, function, *args, **kwargs):
    """Print the result or the errno."""
    try:
        result = function(*args, **kwargs)
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(label, result)


def opened(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))
    return "opened"


def creation():
    attempt("create", opened, "file", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    attempt("again", opened, "file", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    attempt("directory", opened, ".", os.O_RDWR)
    attempt("as directory", opened, "file", os.O_DIRECTORY)
    attempt("below a file", opened, "file/x", os.O_RDONLY)
    attempt("slash", opened, "file/", os.O_RDONLY)
    attempt("missing", opened, "none/x", os.O_CREAT | os.O_RDWR)
    attempt("long", opened, "x" * 256, os.O_CREAT)
    os.symlink("loop", "loop")
    attempt("loop", opened, "loop", os.O_RDONLY)
    attempt("nofollow", opened, "loop", os.O_RDONLY | os.O_NOFOLLOW)
    os.symlink("target", "dangling")
    attempt("exclusive through a link", opened, "dangling", os.O_CREAT | os.O_EXCL)
    attempt("through a link", opened, "dangling", os.O_CREAT)
    print(sorted(os.listdir()))
    os.umask(0o027)
    os.mkdir("dir", 0o777)
    opened("dir/file", os.O_CREAT, 0o666)
    print(oct(os.stat("dir").st_mode), oct(os.stat("dir/file").st_mode))


def data():
    fd = os.open("data", os.O_RDWR | os.O_CREAT)
    print(os.write(fd, b"hello"), os.pwrite(fd, b"world", 10), os.pread(fd, 100, 0), os.lseek(fd, 0, os.SEEK_CUR))
    print(os.lseek(fd, -2, os.SEEK_END), os.read(fd, 9), os.read(fd, 9))
    append = os.open("data", os.O_WRONLY | os.O_APPEND)
    os.write(append, b"!")
    os.pwrite(append, b"?", 0)
    print(os.pread(fd, 100, 0), os.lseek(append, 0, os.SEEK_CUR))
    os.ftruncate(fd, 3)
    print(os.pread(fd, 100, 0), os.stat("data").st_size)
    os.ftruncate(fd, 6)
    print(os.pread(fd, 100, 0))
    attempt("write to a reader", os.write, os.open("data", os.O_RDONLY), b"x")
    attempt("read of a writer", os.read, append, 1)
    attempt("negative", os.lseek, fd, -1, os.SEEK_SET)
    os.posix_fallocate(fd, 0, 5000)
    print(os.fstat(fd).st_size)
    with mmap.mmap(fd, 4096) as shared:
        shared[0:4] = b"MAPS"
    print(os.pread(fd, 5, 0))
    os.pwrite(fd, b"after", 0)
    with mmap.mmap(fd, 4096, access=mmap.ACCESS_READ) as seen:
        print(seen[0:5])
    os.fsync(fd)
    os.fdatasync(fd)
    os.fsync(os.open(".", os.O_RDONLY))
    attempt("truncating open", opened, "data", os.O_WRONLY | os.O_TRUNC)
    print(os.fstat(fd).st_size)


def change(fd):
    """Change what can be changed by a descriptor for reading, and print it."""
    attempt("mode", os.fchmod, fd, 0o640)
    attempt("owner", os.fchown, fd, 5, 6)
    attempt("times", os.utime, fd, ns=(1_000_000_001, 2_000_000_002))
    there = os.fstat(fd)
    print(oct(there.st_mode), there.st_uid, there.st_gid, there.st_nlink, there.st_mtime_ns)


def names():
    opened("a", os.O_CREAT)
    os.mkdir("d")
    os.mkdir("e")
    opened("e/x", os.O_CREAT)
    os.link("a", "b")
    print(os.stat("a").st_nlink, os.path.samefile("a", "b"))
    attempt("link of a directory", os.link, "d", "f")
    attempt("rename onto itself", os.rename, "a", "b")
    print(sorted(os.listdir()))
    attempt("file onto directory", os.rename, "a", "d")
    attempt("directory onto file", os.rename, "d", "a")
    attempt("onto a full directory", os.rename, "d", "e")
    attempt("onto an empty directory", os.rename, "e", "d")
    attempt("into itself", os.rename, "d", "d/y")
    attempt("rmdir full", os.rmdir, "d")
    attempt("rmdir file", os.rmdir, "a")
    attempt("unlink directory", os.unlink, "d")
    attempt("rmdir dot", os.rmdir, "d/.")
    attempt("unlink slash", os.unlink, "a/")
    os.symlink("d", "s")
    attempt("rmdir of a link", os.rmdir, "s")
    attempt("list through a link", os.listdir, "s")
    attempt("rename of a link", os.rename, "s", "t")
    print(os.readlink("t"), sorted(os.listdir()))
    fd = os.open("a", os.O_RDWR)
    os.unlink("a")
    os.unlink("b")
    print(os.fstat(fd).st_nlink, os.write(fd, b"gone"), os.pread(fd, 9, 0))
    os.fchmod(fd, 0o600)
    print(oct(os.fstat(fd).st_mode))
    seen = mmap.mmap(fd, 4, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    print(seen[:])
    opened("c", os.O_CREAT)
    fd = os.open("c", os.O_RDONLY)
    os.unlink("c")
    change(fd)
    attempt("size by a reader", os.ftruncate, fd, 5)
    opened("c", os.O_CREAT)
    opened("f", os.O_CREAT)
    fd = os.open("c", os.O_RDONLY)
    os.rename("f", "c")
    change(fd)
    os.link("c", "f")
    fd = os.open("c", os.O_RDONLY)
    os.unlink("c")
    change(fd)
    print(oct(os.stat("f").st_mode))
    here = os.open(".", os.O_RDONLY)
    os.mkdir("deep")
    fd = os.open("deep", os.O_RDONLY)
    os.chdir("deep")
    os.rmdir("../deep")
    change(fd)
    attempt("in a removed directory", opened, "x", os.O_CREAT)
    attempt("list of it", os.listdir)
    attempt("cwd of it", os.getcwd)
    os.fchdir(here)


def attributes():
    opened("a", os.O_CREAT)
    os.chmod("a", 0o4755)
    print(oct(os.stat("a").st_mode))
    os.chown("a", 1000, 1001)
    there = os.stat("a")
    print(oct(there.st_mode), there.st_uid, there.st_gid)
    os.utime("a", ns=(1_000_000_001, 2_000_000_002))
    print(os.stat("a").st_atime_ns, os.stat("a").st_mtime_ns)
    os.symlink("a", "l")
    os.lchown("l", 7, 8)
    print(os.lstat("l").st_uid, os.stat("l").st_uid, os.lstat("l").st_size)
    os.setxattr("a", "user.one", b"1")
    attempt("create", os.setxattr, "a", "user.one", b"2", os.XATTR_CREATE)
    attempt("replace", os.setxattr, "a", "user.two", b"2", os.XATTR_REPLACE)
    attempt("of a link", os.setxattr, "l", "user.x", b"", follow_symlinks=False)
    print(os.getxattr("a", "user.one"), os.listxattr("a"))
    os.removexattr("a", "user.one")
    attempt("missing", os.getxattr, "a", "user.one")
    os.mkdir("g")
    os.chown("g", 0, 55)
    os.chmod("g", 0o2775)
    os.mkdir("g/sub")
    opened("g/file", os.O_CREAT)
    for name in ("g/sub", "g/file"):
        there = os.stat(name)
        print(oct(there.st_mode), there.st_gid)
    attempt("access", os.access, "a", os.X_OK)
    os.mkfifo("p")
    print(stat.S_ISFIFO(os.stat("p").st_mode))
    attempt("writer without a reader", opened, "p", os.O_WRONLY | os.O_NONBLOCK)
    reader = os.open("p", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open("p", os.O_WRONLY)
    os.write(writer, b"through")
    print(os.read(reader, 99))


def locks():
    one, two = os.open("lock", os.O_RDWR | os.O_CREAT), os.open("lock", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    attempt("flock", fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_UN)
    attempt("unlocked", fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(one, fcntl.LOCK_EX, 10, 0)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        attempt("other process", fcntl.lockf, one, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
        attempt("beside it", fcntl.lockf, one, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 10)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def trees():
    for number in range(200):
        os.makedirs(f"t/{number % 5}/{number % 3}", exist_ok=True)
        with open(f"t/{number % 5}/{number % 3}/{number}", "w") as file:
            file.write(str(number) * number)
    shutil.copytree("t", "u", symlinks=True)
    found = [
        (path, sorted(names), [os.stat(os.path.join(path, name)).st_size for name in sorted(files)])
        for path, names, files in sorted(os.walk("u"))
    ]
    print(len(found), found[-1])
    shutil.rmtree("t")
    os.rename("u", "v")
    print(sum(len(files) for _, _, files in os.walk("v")))
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(b"x" * 100000)
        file.seek(50000)
        print(len(file.read()))


for section in (creation, data, names, attributes, locks, trees):
    os.mkdir(section.__name__)
    os.chdir(section.__name__)
    print(f"-- {section.__name__}", flush=True)
    section()
    sys.stdout.flush()
    os.chdir("..")
    os.umask(0o022)
