# SPDX-License-Identifier: GPL-3.0-or-later
"""
A real NFS server (nfs-ganesha, v3 and v4) on free loopback ports.

Several may run at once.  Restart keeps ports and file handles, so a client
sees what it would see of a server that was rebooted.  The export is read-only unless told
otherwise: a migration that writes to its source fails its test.
"""
import os
import random
import signal
import socket
import subprocess
import tempfile
import time

from . import sysx

_CONF = """
NFS_CORE_PARAM {{
    Bind_addr = 127.0.0.1;
    NFS_Port = {nfs}; MNT_Port = {mnt};
    Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;
    Protocols = 3, 4;
    mount_path_pseudo = true;
    Plugins_Dir = "{plugins}";
}}
NFS_KRB5 {{ Active_krb5 = false; }}
NFSv4 {{
    Graceless = true; Lease_Lifetime = 10; Grace_Period = 10;
    RecoveryBackend = fs; RecoveryRoot = "{state}/recovery";
    Only_Numeric_Owners = true;
}}
"""
# Without Attr_Expiration_Time = 0 the server hides changes made directly to the directory for a minute.
_EXPORT = """
EXPORT {{
    Export_Id = {id}; Path = "{path}"; Pseudo = "/{name}";
    Access_Type = {access}; Squash = {squash}; SecType = sys;
    Protocols = 3, 4; Transports = TCP;
    Attr_Expiration_Time = 0;
    FSAL {{ Name = VFS; }}
}}
"""


class Ganesha:
    """with Ganesha(work, {"tree": DIR}, shim) as server: server.url("tree", 3)"""

    def __init__(self, work, exports, shim, access="RO", squash="no_root_squash"):
        self.work = work
        self.shim = shim
        self.exports = dict(exports)
        self.access = access
        self.squash = squash
        self.state = tempfile.mkdtemp(prefix="ganesha-", dir=str(work))
        self.log = self.state + "/log"
        self.process = None
        os.mkdir(self.state + "/recovery")
        self.start()

    def _configure(self):
        self.nfs_port, self.mount_port = free_ports(2)
        conf = _CONF.format(nfs=self.nfs_port, mnt=self.mount_port, state=self.state, plugins=_plugins())
        for number, (name, path) in enumerate(self.exports.items(), 1):
            conf += _EXPORT.format(id=number, name=name, path=path, access=self.access, squash=self.squash)
        with open(self.state + "/ganesha.conf", "w") as f:
            f.write(conf)

    def url(self, export, version, nfs_port=None, extra=""):
        port = nfs_port or self.nfs_port
        if version == 3:
            return "nfs://127.0.0.1/%s?version=3&nfsport=%d&mountport=%d%s" % (export, port, self.mount_port, extra)
        return "nfs://127.0.0.1/%s?version=4&nfsport=%d%s" % (export, port, extra)

    def start(self, tries=3):
        """A chosen port may be taken by somebody else before ganesha has it: then choose again."""
        for left in reversed(range(tries)):
            self._configure()
            try:
                self.restart()
                return
            except RuntimeError:
                if not left:
                    raise

    def restart(self):
        """Start (again) with the same configuration and ports; returns when it serves."""
        self.kill()
        offset = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        # File handles contain the file system's UUID as blkid knows it.  Its common cache may tell that of
        # an earlier user of the loop device, until it looks again: then every handle of before is stale.
        env = dict(os.environ, LD_PRELOAD=self.shim, BLKID_FILE=self.state + "/blkid.tab")
        env.pop("ASAN_OPTIONS", None)
        with open(self.state + "/stderr", "ab") as err:
            self.process = subprocess.Popen(
                ["ganesha.nfsd", "-F", "-N", "NIV_EVENT", "-L", self.log, "-f", self.state + "/ganesha.conf",
                 "-p", self.state + "/pid"],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=env, start_new_session=True, preexec_fn=sysx.die_with_parent)
        self.work.remember(self.process.pid)
        self._wait_ready(offset)

    def _wait_ready(self, offset, limit=30):
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            if os.path.exists(self.log):
                with open(self.log, "rb") as f:
                    f.seek(offset)
                    if b"NFS SERVER INITIALIZED" in f.read() and _accepts(self.nfs_port) and _accepts(self.mount_port):
                        return
            time.sleep(0.01)
        self.kill()
        raise RuntimeError("nfs-ganesha does not start:\n" + self.tail())

    def tail(self, count=20):
        lines = []
        for name in (self.log, self.state + "/stderr"):
            if os.path.exists(name):
                with open(name, errors="replace") as f:
                    lines += f.readlines()[-count:]
        return "".join(lines)

    def kill(self):
        """The server vanishes: no goodbye, connections reset."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self):
        """The network goes silent: connections stay, nothing answers."""
        os.kill(self.process.pid, signal.SIGSTOP)
        while any(sysx.thread_state(self.process.pid, t) not in "TZX" for t in os.listdir("/proc/%d/task" % self.process.pid)):
            time.sleep(0.001)	# its threads stop one after the other

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()


def _plugins():
    for path in ("/usr/lib/%s-linux-gnu/ganesha" % os.uname().machine, "/usr/lib/ganesha"):
        if os.path.isdir(path):
            return path
    raise RuntimeError("nfs-ganesha-vfs is not installed (make deps)")


def _accepts(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count):
    """Ports below the range that the kernel hands out to outgoing connections."""
    found = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
