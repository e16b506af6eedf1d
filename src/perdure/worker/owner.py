"""The name of a claiming process, and whether such a process is still there.

The name is no authority, the epoch is. It only lets a worker see at once that a process of this
host is gone, instead of waiting for its leases to run out.
"""

from __future__ import annotations

import os
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_SEPARATOR = "|"
_UNKNOWN = "unknown"


def _pid_space() -> str:
    """Where a pid means one process: this boot of this kernel, and the namespace of containers.

    A host's name does not tell that: containers on the host's network have it, too, and machines
    may have equal names.
    """
    try:
        namespace = _PID_NAMESPACE.readlink().name.removeprefix("pid:").strip("[]")
        return f"{_BOOT_ID.read_text('ascii').strip()}/{namespace}"
    except OSError:
        return _UNKNOWN


def _start_time(pid: int) -> str:
    """When the process started, in ticks since boot; "" when that cannot be read.

    Source: proc(5), field 22 of /proc/PID/stat. The command name in field 2 may hold spaces and
    parentheses, so the fields are counted after its last ")". A zombie (state Z) has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "ended" if fields[0] in {"Z", "X"} else fields[19]


def owner_name(nonce: str) -> str:
    """Host, pid space, pid, start time of this process, and a nonce per worker."""
    pid = os.getpid()
    parts = (os.uname().nodename, _pid_space(), str(pid), _start_time(pid), nonce)
    return _SEPARATOR.join(part.replace(_SEPARATOR, "_") for part in parts)


def is_gone(owner: str) -> bool:
    """True only if the owner was a process of this pid space and is certainly not running any more.

    Where that is not certain (another machine, another container, a host that was booted anew, no
    /proc), the lease decides.
    """
    parts = owner.split(_SEPARATOR)
    here = _pid_space()
    if len(parts) != 5 or here == _UNKNOWN or parts[1] != here or not parts[2].isdecimal():
        return False
    pid, started = int(parts[2]), parts[3]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # of another user, who may hide it from /proc: there is one
    found = _start_time(pid)
    return bool(found and started) and found != started
