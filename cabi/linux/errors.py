"""One exception class per errno (errno(3)); a handler fails by raising one.

``raise ENOENT`` or, with a detail for the strace log, ``raise EINVAL("unknown flags 0x80")``.
A LinuxError is what a guest is told.  It is not an OSError, which is what the host told us.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final


class LinuxError(Exception):
    """An errno on its way to a guest."""

    errno: ClassVar[int] = 0


class EPERM(LinuxError):
    """Operation not permitted."""

    errno = 1


class ENOENT(LinuxError):
    """No such file or directory."""

    errno = 2


class ESRCH(LinuxError):
    """No such process."""

    errno = 3


class EINTR(LinuxError):
    """Interrupted system call."""

    errno = 4


class EIO(LinuxError):
    """Input/output error."""

    errno = 5


class ENXIO(LinuxError):
    """No such device or address."""

    errno = 6


class E2BIG(LinuxError):
    """Argument list too long."""

    errno = 7


class ENOEXEC(LinuxError):
    """Exec format error."""

    errno = 8


class EBADF(LinuxError):
    """Bad file descriptor."""

    errno = 9


class ECHILD(LinuxError):
    """No child processes."""

    errno = 10


class EAGAIN(LinuxError):
    """Resource temporarily unavailable."""

    errno = 11


class ENOMEM(LinuxError):
    """Cannot allocate memory."""

    errno = 12


class EACCES(LinuxError):
    """Permission denied."""

    errno = 13


class EFAULT(LinuxError):
    """Bad address."""

    errno = 14


class ENOTBLK(LinuxError):
    """Block device required."""

    errno = 15


class EBUSY(LinuxError):
    """Device or resource busy."""

    errno = 16


class EEXIST(LinuxError):
    """File exists."""

    errno = 17


class EXDEV(LinuxError):
    """Invalid cross-device link."""

    errno = 18


class ENODEV(LinuxError):
    """No such device."""

    errno = 19


class ENOTDIR(LinuxError):
    """Not a directory."""

    errno = 20


class EISDIR(LinuxError):
    """Is a directory."""

    errno = 21


class EINVAL(LinuxError):
    """Invalid argument."""

    errno = 22


class ENFILE(LinuxError):
    """Too many open files in system."""

    errno = 23


class EMFILE(LinuxError):
    """Too many open files."""

    errno = 24


class ENOTTY(LinuxError):
    """Inappropriate ioctl for device."""

    errno = 25


class ETXTBSY(LinuxError):
    """Text file busy."""

    errno = 26


class EFBIG(LinuxError):
    """File too large."""

    errno = 27


class ENOSPC(LinuxError):
    """No space left on device."""

    errno = 28


class ESPIPE(LinuxError):
    """Illegal seek."""

    errno = 29


class EROFS(LinuxError):
    """Read-only file system."""

    errno = 30


class EMLINK(LinuxError):
    """Too many links."""

    errno = 31


class EPIPE(LinuxError):
    """Broken pipe."""

    errno = 32


class EDOM(LinuxError):
    """Numerical argument out of domain."""

    errno = 33


class ERANGE(LinuxError):
    """Numerical result out of range."""

    errno = 34


class EDEADLK(LinuxError):
    """Resource deadlock avoided."""

    errno = 35


class ENAMETOOLONG(LinuxError):
    """File name too long."""

    errno = 36


class ENOLCK(LinuxError):
    """No locks available."""

    errno = 37


class ENOSYS(LinuxError):
    """Function not implemented."""

    errno = 38


class ENOTEMPTY(LinuxError):
    """Directory not empty."""

    errno = 39


class ELOOP(LinuxError):
    """Too many levels of symbolic links."""

    errno = 40


class ENOMSG(LinuxError):
    """No message of desired type."""

    errno = 42


class EIDRM(LinuxError):
    """Identifier removed."""

    errno = 43


class ECHRNG(LinuxError):
    """Channel number out of range."""

    errno = 44


class EL2NSYNC(LinuxError):
    """Level 2 not synchronized."""

    errno = 45


class EL3HLT(LinuxError):
    """Level 3 halted."""

    errno = 46


class EL3RST(LinuxError):
    """Level 3 reset."""

    errno = 47


class ELNRNG(LinuxError):
    """Link number out of range."""

    errno = 48


class EUNATCH(LinuxError):
    """Protocol driver not attached."""

    errno = 49


class ENOCSI(LinuxError):
    """No CSI structure available."""

    errno = 50


class EL2HLT(LinuxError):
    """Level 2 halted."""

    errno = 51


class EBADE(LinuxError):
    """Invalid exchange."""

    errno = 52


class EBADR(LinuxError):
    """Invalid request descriptor."""

    errno = 53


class EXFULL(LinuxError):
    """Exchange full."""

    errno = 54


class ENOANO(LinuxError):
    """No anode."""

    errno = 55


class EBADRQC(LinuxError):
    """Invalid request code."""

    errno = 56


class EBADSLT(LinuxError):
    """Invalid slot."""

    errno = 57


class EBFONT(LinuxError):
    """Bad font file format."""

    errno = 59


class ENOSTR(LinuxError):
    """Device not a stream."""

    errno = 60


class ENODATA(LinuxError):
    """No data available."""

    errno = 61


class ETIME(LinuxError):
    """Timer expired."""

    errno = 62


class ENOSR(LinuxError):
    """Out of streams resources."""

    errno = 63


class ENONET(LinuxError):
    """Machine is not on the network."""

    errno = 64


class ENOPKG(LinuxError):
    """Package not installed."""

    errno = 65


class EREMOTE(LinuxError):
    """Object is remote."""

    errno = 66


class ENOLINK(LinuxError):
    """Link has been severed."""

    errno = 67


class EADV(LinuxError):
    """Advertise error."""

    errno = 68


class ESRMNT(LinuxError):
    """Srmount error."""

    errno = 69


class ECOMM(LinuxError):
    """Communication error on send."""

    errno = 70


class EPROTO(LinuxError):
    """Protocol error."""

    errno = 71


class EMULTIHOP(LinuxError):
    """Multihop attempted."""

    errno = 72


class EDOTDOT(LinuxError):
    """RFS specific error."""

    errno = 73


class EBADMSG(LinuxError):
    """Bad message."""

    errno = 74


class EOVERFLOW(LinuxError):
    """Value too large for defined data type."""

    errno = 75


class ENOTUNIQ(LinuxError):
    """Name not unique on network."""

    errno = 76


class EBADFD(LinuxError):
    """File descriptor in bad state."""

    errno = 77


class EREMCHG(LinuxError):
    """Remote address changed."""

    errno = 78


class ELIBACC(LinuxError):
    """Can not access a needed shared library."""

    errno = 79


class ELIBBAD(LinuxError):
    """Accessing a corrupted shared library."""

    errno = 80


class ELIBSCN(LinuxError):
    """.lib section in a.out corrupted."""

    errno = 81


class ELIBMAX(LinuxError):
    """Attempting to link in too many shared libraries."""

    errno = 82


class ELIBEXEC(LinuxError):
    """Cannot exec a shared library directly."""

    errno = 83


class EILSEQ(LinuxError):
    """Invalid or incomplete multibyte or wide character."""

    errno = 84


class ERESTART(LinuxError):
    """Interrupted system call should be restarted."""

    errno = 85


class ESTRPIPE(LinuxError):
    """Streams pipe error."""

    errno = 86


class EUSERS(LinuxError):
    """Too many users."""

    errno = 87


class ENOTSOCK(LinuxError):
    """Socket operation on non-socket."""

    errno = 88


class EDESTADDRREQ(LinuxError):
    """Destination address required."""

    errno = 89


class EMSGSIZE(LinuxError):
    """Message too long."""

    errno = 90


class EPROTOTYPE(LinuxError):
    """Protocol wrong type for socket."""

    errno = 91


class ENOPROTOOPT(LinuxError):
    """Protocol not available."""

    errno = 92


class EPROTONOSUPPORT(LinuxError):
    """Protocol not supported."""

    errno = 93


class ESOCKTNOSUPPORT(LinuxError):
    """Socket type not supported."""

    errno = 94


class EOPNOTSUPP(LinuxError):
    """Operation not supported."""

    errno = 95


class EPFNOSUPPORT(LinuxError):
    """Protocol family not supported."""

    errno = 96


class EAFNOSUPPORT(LinuxError):
    """Address family not supported by protocol."""

    errno = 97


class EADDRINUSE(LinuxError):
    """Address already in use."""

    errno = 98


class EADDRNOTAVAIL(LinuxError):
    """Cannot assign requested address."""

    errno = 99


class ENETDOWN(LinuxError):
    """Network is down."""

    errno = 100


class ENETUNREACH(LinuxError):
    """Network is unreachable."""

    errno = 101


class ENETRESET(LinuxError):
    """Network dropped connection on reset."""

    errno = 102


class ECONNABORTED(LinuxError):
    """Software caused connection abort."""

    errno = 103


class ECONNRESET(LinuxError):
    """Connection reset by peer."""

    errno = 104


class ENOBUFS(LinuxError):
    """No buffer space available."""

    errno = 105


class EISCONN(LinuxError):
    """Transport endpoint is already connected."""

    errno = 106


class ENOTCONN(LinuxError):
    """Transport endpoint is not connected."""

    errno = 107


class ESHUTDOWN(LinuxError):
    """Cannot send after transport endpoint shutdown."""

    errno = 108


class ETOOMANYREFS(LinuxError):
    """Too many references: cannot splice."""

    errno = 109


class ETIMEDOUT(LinuxError):
    """Connection timed out."""

    errno = 110


class ECONNREFUSED(LinuxError):
    """Connection refused."""

    errno = 111


class EHOSTDOWN(LinuxError):
    """Host is down."""

    errno = 112


class EHOSTUNREACH(LinuxError):
    """No route to host."""

    errno = 113


class EALREADY(LinuxError):
    """Operation already in progress."""

    errno = 114


class EINPROGRESS(LinuxError):
    """Operation now in progress."""

    errno = 115


class ESTALE(LinuxError):
    """Stale file handle."""

    errno = 116


class EUCLEAN(LinuxError):
    """Structure needs cleaning."""

    errno = 117


class ENOTNAM(LinuxError):
    """Not a XENIX named type file."""

    errno = 118


class ENAVAIL(LinuxError):
    """No XENIX semaphores available."""

    errno = 119


class EISNAM(LinuxError):
    """Is a named type file."""

    errno = 120


class EREMOTEIO(LinuxError):
    """Remote I/O error."""

    errno = 121


class EDQUOT(LinuxError):
    """Disk quota exceeded."""

    errno = 122


class ENOMEDIUM(LinuxError):
    """No medium found."""

    errno = 123


class EMEDIUMTYPE(LinuxError):
    """Wrong medium type."""

    errno = 124


class ECANCELED(LinuxError):
    """Operation canceled."""

    errno = 125


class ENOKEY(LinuxError):
    """Required key not available."""

    errno = 126


class EKEYEXPIRED(LinuxError):
    """Key has expired."""

    errno = 127


class EKEYREVOKED(LinuxError):
    """Key has been revoked."""

    errno = 128


class EKEYREJECTED(LinuxError):
    """Key was rejected by service."""

    errno = 129


class EOWNERDEAD(LinuxError):
    """Owner died."""

    errno = 130


class ENOTRECOVERABLE(LinuxError):
    """State not recoverable."""

    errno = 131


class ERFKILL(LinuxError):
    """Operation not possible due to RF-kill."""

    errno = 132


EWOULDBLOCK = EAGAIN
ENOTSUP = EOPNOTSUPP
EDEADLOCK = EDEADLK

BY_NUMBER: Final[dict[int, type[LinuxError]]] = {cls.errno: cls for cls in LinuxError.__subclasses__()}
"""The class of each errno."""


def linux_error(number: int, detail: str = "") -> LinuxError:
    """Return the exception for an errno; one that Linux does not define becomes EIO."""
    cls = BY_NUMBER.get(number, EIO)
    return cls(detail) if detail else cls()


@contextmanager
def answered_by_host() -> Iterator[None]:
    """Make the OSError of the one host call inside the guest's own error."""
    try:
        yield
    except OSError as error:
        raise linux_error(error.errno or EIO.errno) from None
