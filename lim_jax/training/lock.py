"""A workdir belongs to one run at a time: a locked file in it, with the name of who holds it.

The system's lock (`flock`) ends with the process, however that ends. A file system may keep such locks to one host, so
a holder also touches the file every few seconds: who finds another host's name in it waits for the next touch, and
takes the workdir over when none comes. Where there are no such locks, all go by the touch.
"""

import datetime
import fcntl
import json
import os
import pathlib
import socket
import threading
import time

from lim_jax.errors import UserError

FILE = "lock"
_TOUCH_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0


class Lock:
    """Held while it is entered; the file stays, empty, so that nobody locks one that is no longer there.

    Raises:
      UserError: when it is entered: another process holds it.
    """

    def __init__(self, workdir: pathlib.Path, patience_seconds: float = _PATIENCE_SECONDS):
        """Locks an existing folder; `patience_seconds` is how long a holder on another host may seem dead."""
        self._workdir, self._patience = workdir, patience_seconds
        self._file = -1
        self._released = threading.Event()

    def __enter__(self) -> "Lock":
        self._file = os.open(self._workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise
        threading.Thread(target=self._touch, daemon=True, name="lock").start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._released.set()
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _take(self) -> None:
        locked = True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(_held(self._workdir, self._holder())) from error
        except OSError:  # a file system without locks
            locked = False
        holder = self._holder()
        if holder and not (locked and holder.get("host") == socket.gethostname()) and self._is_touched():
            raise UserError(_held(self._workdir, holder))
        mine = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.datetime.now().isoformat(" ", "seconds"),
        }
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(mine).encode(), 0)

    def _holder(self) -> dict[str, object]:
        """Returns what the file says of who holds it, or did until it died; empty if it says nothing."""
        try:
            holder = json.loads(os.pread(self._file, 4096, 0))
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _is_touched(self) -> bool:
        """Waits to see whether somebody whose lock cannot be seen from here is alive."""
        before, end = os.stat(self._workdir / FILE).st_mtime_ns, time.monotonic() + self._patience
        while time.monotonic() < end:
            time.sleep(min(0.5, self._patience / 10))
            if os.stat(self._workdir / FILE).st_mtime_ns != before:
                return True
        return False

    def _touch(self) -> None:
        while not self._released.wait(_TOUCH_SECONDS):
            try:
                os.utime(self._workdir / FILE)
            except OSError:  # the workdir is gone, or its disk has a bad moment
                continue


def _held(workdir: pathlib.Path, holder: dict[str, object]) -> str:
    who = "process {process} on {host}, since {since}".format_map(
        {key: holder.get(key, "?") for key in ("process", "host", "since")}
    )
    return f"{workdir} is in use ({who}): wait for that run, stop it, or give another --workdir"
