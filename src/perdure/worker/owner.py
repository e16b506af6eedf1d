"""The name of a claiming process, and whether such a process is still there.

The name is no authority, the epoch is. It only lets a worker see at once that a process of this
host is gone, instead of waiting for its leases to run out.
"""

from __future__ import annotations

import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SEPARATOR = "|"


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return "unknown"


def _start_time(pid: int) -> str:
    """When the process started, in ticks since boot; "" when there is no such process.

    Source: proc(5), field 22 of /proc/PID/stat. The command name in field 2 may hold spaces and
    parentheses, so the fields are counted after its last ")". A zombie (state Z) has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


def owner_name(nonce: str) -> str:
    """Host, boot, pid, start time of this process, and a nonce per worker."""
    pid = os.getpid()
    parts = (os.uname().nodename, _boot_id(), str(pid), _start_time(pid), nonce)
    return _SEPARATOR.join(part.replace(_SEPARATOR, "_") for part in parts)


def is_gone(owner: str) -> bool:
    """True only if the owner was a process of this host and is certainly not running any more.

    Where the system does not tell (no /proc), nothing is certain and the lease decides.
    """
    parts = owner.split(_SEPARATOR)
    if len(parts) != 5 or not Path("/proc/self/stat").exists():
        return False
    host, boot, pid, started, _ = parts
    if host != os.uname().nodename:
        return False
    if boot != _boot_id():
        return True
    return pid.isdecimal() and _start_time(int(pid)) != started
