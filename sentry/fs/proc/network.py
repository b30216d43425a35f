"""/proc/net (proc_pid_net(5)): what there is without a network stack; that one replaces the rows it knows."""

from __future__ import annotations

from typing import Final

from pysc.sentry.fs.proc.base import Factory, constant

_TCP: Final = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    b"                                                     \n"
)
_UDP: Final = (
    b"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer"
    b" drops             \n"
)
_TCP6: Final = (
    b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr"
    b" tm->when retrnsmt   uid  timeout inode\n"
)
_DEV: Final = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier"
    b" compressed\n"
    b"    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0"
    b"          0\n"
)
_ROUTE: Final = (
    b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".ljust(127) + b"\n"
)

NET: Final[dict[bytes, Factory]] = {
    b"arp": constant(b"IP address       HW type     Flags       HW address            Mask     Device\n"),
    b"dev": constant(_DEV),
    b"if_inet6": constant(b""),
    b"netlink": constant(b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"),
    b"packet": constant(b"sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
    b"protocols": constant(b"protocol  size sockets  memory press maxhdr  slab module\n"),
    b"raw": constant(_UDP),
    b"raw6": constant(_UDP),
    b"route": constant(_ROUTE),
    b"snmp": constant(b""),
    b"tcp": constant(_TCP),
    b"tcp6": constant(_TCP6),
    b"udp": constant(_UDP),
    b"udp6": constant(_UDP),
    b"unix": constant(b"Num       RefCount Protocol Flags    Type St Inode Path\n"),
}
