# SPDX-License-Identifier: GPL-3.0-or-later
"""
What an application expects of a POSIX file system, through the live mount.

Each check works in a directory of its own with the same few cold objects, and is run three times: on a plain twin
(which proves the check itself), on the mount while everything is on the source, and on the mount
while everything arrives.  Twin and target must be equal in the end.
"""
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
import threading
import time

from lib import fs, sysx
from lib.env import Background, Failed, check, sh

_SMALL = bytes(range(256)) * 40
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)	# POSIX allows both; XFS says EEXIST for rename
_LARGE = b"".join(b"%015d\n" % i for i in range(200000))	# 3.2 MB


def posix_ops(e):
    twin_fs = e.add(fs.LoopFs(e.work, e.target_kind, name="twin"))
    twin = twin_fs.path + "/data"
    os.mkdir(twin)
    checks = [f for name, f in sorted(globals().items()) if name.startswith("on_")]
    for root in (e.source_dir, twin):
        for phase in ("cold", "moving"):
            for function in checks:
                _prepare("%s/%s %s" % (root, function.__name__, phase))
        os.utime(root, (1, 1))
    e.serve()
    since = time.time()
    run = e.run("--whole-file-limit", "1M", hold=True)
    run.mounted()
    failures = []
    for phase in ("cold", "moving"):
        if phase == "moving":
            run.release_background()
        for function in checks:
            name = "%s %s" % (function.__name__, phase)
            function(twin + "/" + name)
            try:
                function(e.path(name))
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failures.append("%s: %s: %s" % (name, type(error).__name__, error))
                e.say("FAILED", failures[-1])
    check(not failures, "%d of %d checks:\n%s" % (len(failures), 2 * len(checks), "\n".join(failures)))
    e.say("%d checks, twice" % len(checks))
    run.finish()
    e.check_plain()
    e.check_same(reference=twin, mtime_since=since, blocks=False)


def _prepare(path):
    os.mkdir(path)
    for name, data in (("small", _SMALL), ("large", _LARGE), ("other", b"other\n"), ("exec", b"#!/bin/sh\necho ran \"$@\"\n")):
        with open(path + "/" + name, "wb") as f:
            f.write(data)
    os.chmod(path + "/exec", 0o755)
    os.link(path + "/small", path + "/small too")
    os.symlink("small", path + "/symlink")
    os.mkdir(path + "/sub")
    for i in range(3):
        with open(path + "/sub/%d" % i, "w") as f:
            f.write("%d" % i)
    os.mkdir(path + "/empty")
    for directory, subdirectories, files in os.walk(path, topdown=False):
        for name in files:
            os.utime(os.path.join(directory, name), (1000000000, 1000000000), follow_symlinks=False)
        os.utime(directory, (1000000001, 1000000001))


def fails(code, function, *args, **kwargs):
    """The call must fail with this errno (or one of these)."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        function(*args, **kwargs)
    except OSError as error:
        check(error.errno in codes, "%s instead of %s" % (sysx.error_name(error.errno), sysx.error_name(codes[0])))
        return
    raise Failed("succeeded instead of " + sysx.error_name(codes[0]))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data, mode="wb"):
    with open(path, mode) as f:
        f.write(data)


def on_rename(d):
    os.rename(d + "/small", d + "/renamed")
    check(read(d + "/renamed") == _SMALL)
    fails(errno.EEXIST, sysx.rename_flags, d + "/large", d + "/other", sysx.RENAME_NOREPLACE)
    sysx.rename_flags(d + "/large", d + "/large2", sysx.RENAME_NOREPLACE)
    sysx.rename_flags(d + "/large2", d + "/sub", sysx.RENAME_EXCHANGE)
    check(os.path.isdir(d + "/large2") and os.path.isfile(d + "/sub") and read(d + "/large2/1") == b"1")
    os.rename(d + "/other", d + "/renamed")
    check(read(d + "/renamed") == b"other\n" and read(d + "/small too") == _SMALL)
    check(os.stat(d + "/small too").st_nlink == 1, "nlink", os.stat(d + "/small too").st_nlink)
    fails(_NOT_EMPTY, os.rename, d + "/empty", d + "/large2")
    fails(errno.EISDIR, os.rename, d + "/exec", d + "/empty")
    fails(errno.ENOTDIR, os.rename, d + "/empty", d + "/exec")
    fails(errno.EINVAL, os.rename, d + "/large2", d + "/large2/below")
    os.rename(d + "/large2", d + "/empty/moved")
    check(sorted(os.listdir(d + "/empty/moved")) == ["0", "1", "2"])


def on_delete(d):
    fails(_NOT_EMPTY, os.rmdir, d + "/sub")
    for name in ("0", "1", "2"):
        os.unlink(d + "/sub/" + name)
    os.rmdir(d + "/sub")
    os.rmdir(d + "/empty")
    fails(errno.EISDIR, os.unlink, d)
    fd = os.open(d + "/large", os.O_RDWR)
    os.unlink(d + "/large")
    check(os.fstat(fd).st_nlink == 0, "nlink of an unlinked open file")
    check(os.pread(fd, 16, 16 * 150000) == b"%015d\n" % 150000, "an unlinked open file must go on reading")
    os.pwrite(fd, b"x", 5)
    os.close(fd)
    check("large" not in os.listdir(d))
    write(d + "/large", b"new one")
    check(read(d + "/large") == b"new one")
    fails(errno.ENOENT, os.unlink, d + "/never")


def on_create(d):
    fails(errno.EEXIST, os.open, d + "/other", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.EEXIST, os.mkdir, d + "/sub")
    fails(errno.ENAMETOOLONG, os.mkdir, d + "/" + "x" * 256)
    os.symlink("some where", d + "/new link")
    check(os.readlink(d + "/new link") == "some where")
    os.mkfifo(d + "/fifo", 0o600)
    os.mknod(d + "/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    check(os.stat(d + "/device").st_rdev == os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(d)		# the path is too long for an address
        s.bind("socket")
        os.chdir("/")
    check(stat.S_ISSOCK(os.stat(d + "/socket").st_mode))
    os.link(d + "/other", d + "/linked")
    check(os.stat(d + "/other").st_nlink == 2)
    old = os.umask(0o027)
    try:
        os.mkdir(d + "/masked", 0o777)
        os.close(os.open(d + "/masked file", os.O_CREAT | os.O_WRONLY, 0o666))
    finally:
        os.umask(old)
    check(stat.S_IMODE(os.stat(d + "/masked").st_mode) == 0o750 and stat.S_IMODE(os.stat(d + "/masked file").st_mode) == 0o640)


def on_ownership(d):
    """What another user creates is his; a setgid directory hands on its group; what he may not, he may not."""
    os.chmod(d, 0o777)
    os.mkdir(d + "/setgid")
    os.chown(d + "/setgid", 0, 4321)
    os.chmod(d + "/setgid", 0o2777)
    script = ("import os,sys,errno\nos.setgroups([]);os.setgid(2000);os.setuid(1000)\nos.umask(0o022)\nd=sys.argv[1]\n"
              "open(d+'/his','w').close();os.mkdir(d+'/his dir');os.symlink('x',d+'/his link');open(d+'/setgid/his','w').close()\n"
              "for f,a in ((os.chown,(d+'/other',1000,-1)),(os.chmod,(d+'/other',0o777)),(os.truncate,(d+'/other',0)),"
              "(os.listdir,(d+'/closed',)),(open,(d+'/secret',))):\n"
              "  try: f(*a); sys.exit('allowed: %s'%f)\n  except PermissionError: pass\n")
    os.mkdir(d + "/closed", 0o700)
    write(d + "/secret", b"secret")
    os.chmod(d + "/secret", 0o600)
    _python(script, d)
    for name in ("his", "his dir", "his link"):
        st = os.lstat(d + "/" + name)
        check((st.st_uid, st.st_gid) == (1000, 2000), name, "belongs to", st.st_uid, st.st_gid)
    check(os.stat(d + "/setgid/his").st_gid == 4321, "setgid directory")
    os.chmod(d + "/exec", 0o6755)
    os.chown(d + "/exec", 1000, 1000)
    check(stat.S_IMODE(os.stat(d + "/exec").st_mode) & 0o6000 == 0, "chown keeps setuid")


def on_sticky(d):
    os.chmod(d, 0o1777)
    write(d + "/roots", b"")
    _python("import os,sys\nos.setgroups([]);os.setgid(2000);os.setuid(1000)\n"
            "try: os.unlink(sys.argv[1]+'/roots'); sys.exit('sticky bit ignored')\nexcept PermissionError: pass\n", d)


def on_setuid_write(d):
    """A write by another user clears setuid."""
    os.chmod(d + "/exec", 0o4777)
    os.chmod(d, 0o777)
    _python("import os,sys\nos.setgroups([]);os.setgid(2000);os.setuid(1000)\nopen(sys.argv[1]+'/exec','r+b').write(b'#')\n", d)
    check(stat.S_IMODE(os.stat(d + "/exec").st_mode) == 0o777, "mode %o" % os.stat(d + "/exec").st_mode)


def _python(script, *args):
    done = subprocess.run([sys.executable, "-c", script, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    check(done.returncode == 0, done.stdout.decode(errors="replace")[-600:])


def on_times(d):
    os.utime(d + "/large", ns=(5 * 10**9 + 1, 7 * 10**9 + 3))
    st = os.stat(d + "/large")
    check((st.st_atime_ns, st.st_mtime_ns) == (5 * 10**9 + 1, 7 * 10**9 + 3), "utimens is not kept")
    read(d + "/large")
    check(os.stat(d + "/large").st_mtime_ns == 7 * 10**9 + 3, "fetching changed mtime")
    check(os.stat(d + "/small").st_mtime == 1000000000, "mtime of a cold file")
    read(d + "/small")
    check(os.stat(d + "/small").st_mtime == 1000000000, "mtime after reading")
    before = time.time() - 1
    write(d + "/small", b"x", "r+b")
    check(os.stat(d + "/small").st_mtime > before, "a write does not set mtime")
    check(os.stat(d + "/sub").st_mtime == 1000000001)
    os.listdir(d + "/sub")
    check(os.stat(d + "/sub").st_mtime == 1000000001, "listing changed the directory's mtime")
    os.utime(d + "/symlink", ns=(1, 2), follow_symlinks=False)
    check(os.lstat(d + "/symlink").st_mtime_ns == 2)


def on_write_kinds(d):
    with open(d + "/large", "r+b", buffering=0) as f:
        f.seek(1000000)
        f.write(b"PATCH")
        f.seek(999990)
        check(f.read(20)[10:15] == b"PATCH")
    check(os.path.getsize(d + "/large") == len(_LARGE))
    with open(d + "/large", "ab", buffering=0) as f:
        f.write(b"END")
    data = read(d + "/large")
    check(data == _LARGE[:1000000] + b"PATCH" + _LARGE[1000005:] + b"END", "content after patch and append")
    os.truncate(d + "/large", 500000)
    os.truncate(d + "/large", 600000)
    data = read(d + "/large")
    check(data == _LARGE[:500000] + bytes(100000), "truncate down and up: old bytes came back")
    with open(d + "/small", "r+b", buffering=0) as f:
        f.truncate(100)
        f.seek(200)
        f.write(b"hole before")
    check(read(d + "/small too") == _SMALL[:100] + bytes(100) + b"hole before")
    with open(d + "/other", "wb") as f:
        check(os.fstat(f.fileno()).st_size == 0, "O_TRUNC")
    fd = os.open(d + "/exec", os.O_RDWR | os.O_DSYNC)
    os.pwrite(fd, b"#!/bin/SH", 0)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    directory = os.open(d, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    sysx.syncfs(d)


def on_mmap(d):
    for name, whole in (("small", _SMALL), ("large", _LARGE)):
        fd = os.open(d + "/" + name, os.O_RDWR)
        with mmap.mmap(fd, 0) as m:
            check(m[-1000:] == whole[-1000:], "mapped content of", name)
            m[5000:5005] = b"MMAP!"
            m.flush()
            check(os.pread(fd, 5, 5000) == b"MMAP!", "read does not see the mapping")
            os.pwrite(fd, b"WRITE", 6000)
            check(m[6000:6005] == b"WRITE", "the mapping does not see the write")
        os.close(fd)
        expected = bytearray(whole)
        expected[5000:5005], expected[6000:6005] = b"MMAP!", b"WRITE"
        check(read(d + "/" + name) == expected, "content after mmap of", name)
    with open(d + "/exec", "rb") as f, mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as m:
        m[0:1] = b"x"
    check(read(d + "/exec")[:1] == b"#", "a private mapping wrote")


def on_exec(d):
    out = subprocess.run([d + "/exec", "yes"], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    check(out == b"ran yes\n", out)
    write(d + "/true", read("/bin/true"))
    os.chmod(d + "/true", 0o755)
    subprocess.run([d + "/true"], check=True, timeout=60)


def on_direct_io(d):
    size = os.path.getsize(d + "/large")
    fd = os.open(d + "/large", os.O_RDWR | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 65536) as buffer:	# page aligned
            check(os.preadv(fd, [buffer], 1 << 20) == 65536)
            check(buffer[:] == _LARGE[1 << 20:(1 << 20) + 65536], "O_DIRECT read")
            buffer[:] = b"D" * 65536
            check(os.pwritev(fd, [buffer], 1 << 20) == 65536)
            check(os.preadv(fd, [buffer], size & ~4095) == size % 4096, "O_DIRECT at the end")
    finally:
        os.close(fd)
    check(read(d + "/large") == _LARGE[:1 << 20] + b"D" * 65536 + _LARGE[(1 << 20) + 65536:])


def on_space(d):
    fd = os.open(d + "/large", os.O_RDWR)
    sysx.fallocate(fd, 0, 0, len(_LARGE) + 10000)
    check(os.fstat(fd).st_size == len(_LARGE) + 10000)
    sysx.fallocate(fd, sysx.FALLOC_KEEP_SIZE, 0, len(_LARGE) + 50000)
    check(os.fstat(fd).st_size == len(_LARGE) + 10000)
    sysx.fallocate(fd, sysx.FALLOC_PUNCH_HOLE | sysx.FALLOC_KEEP_SIZE, 8192, 100000)
    sysx.fallocate(fd, sysx.FALLOC_ZERO_RANGE, 1000000, 5000)
    os.close(fd)
    expected = bytearray(_LARGE + bytes(10000))
    expected[8192:108192] = bytes(100000)
    expected[1000000:1005000] = bytes(5000)
    check(read(d + "/large") == expected, "content after fallocate")
    st = os.statvfs(d)
    check(st.f_blocks > 0 and st.f_bfree > 0 and st.f_namemax == 255, "statvfs", st)


def on_seek(d):
    fd = os.open(d + "/large", os.O_RDONLY)
    check(os.lseek(fd, 0, os.SEEK_DATA) == 0, "a cold file must not look like a hole")
    check(os.lseek(fd, 0, os.SEEK_HOLE) == len(_LARGE))
    check(os.lseek(fd, 0, os.SEEK_END) == len(_LARGE))
    fails(errno.ENXIO, os.lseek, fd, len(_LARGE), os.SEEK_DATA)
    os.close(fd)
    # What tar and cp --sparse read is not zeros.
    sh("cp --sparse=auto large copied && cmp large copied", cwd=d)


def on_tar(d):
    """
    A backup of cold files: tar looks whether size or ctime changed while it read.  Of a directory it may say so
    (and end with 1): its size grows as its names arrive, where a file system tells the size of directories.
    """
    out = sh("LC_ALL=C tar cSf ../archive.tar . || test $? = 1; tar df ../archive.tar; rm ../archive.tar", cwd=d)
    said = {line for line in out.splitlines()} - {"tar: %s: file changed as we read it" % n for n in (".", "./sub", "./empty")}
    check(not said, sorted(said)[:5])


def on_copy_range(d):
    source, target = os.open(d + "/large", os.O_RDONLY), os.open(d + "/ranged", os.O_RDWR | os.O_CREAT)
    at = 0
    while at < len(_LARGE):
        done = os.copy_file_range(source, target, len(_LARGE) - at, at, at)
        check(done > 0, "copy_file_range stops at", at)
        at += done
    os.close(source)
    os.close(target)
    check(read(d + "/ranged") == _LARGE)
    source, target = os.open(d + "/small", os.O_RDONLY), os.open(d + "/large", os.O_RDWR)
    check(os.copy_file_range(source, target, 3000, 100, 2000000) == 3000)
    os.close(source)
    os.close(target)
    check(read(d + "/large") == _LARGE[:2000000] + _SMALL[100:3100] + _LARGE[2003000:], "copied into a cold file")
    with open(d + "/small", "rb") as f, open(d + "/sent", "wb") as g:
        check(os.sendfile(g.fileno(), f.fileno(), 0, 5000) == 5000)
    check(read(d + "/sent") == _SMALL[:5000])


def on_xattrs(d):
    for name in ("small", "large", "sub", ""):
        path = d + "/" + name
        os.setxattr(path, "user.one", b"1" * 100)
        os.setxattr(path, "user.two", b"")
        check(os.getxattr(path, "user.one") == b"1" * 100)
        check(sorted(x for x in os.listxattr(path) if x.startswith("user.")) == ["user.one", "user.two"])
        check(not any("dmm" in x for x in os.listxattr(path)), "DMM's xattr is visible")
        fails(errno.EEXIST, os.setxattr, path, "user.one", b"", os.XATTR_CREATE)
        fails(errno.ENODATA, os.setxattr, path, "user.none", b"", os.XATTR_REPLACE)
        os.removexattr(path, "user.two")
        fails(errno.ENODATA, os.getxattr, path, "user.two")
    os.setxattr(d + "/symlink", "trusted.t", b"on a link", follow_symlinks=False)
    check(os.getxattr(d + "/symlink", "trusted.t", follow_symlinks=False) == b"on a link")
    os.removexattr(d + "/symlink", "trusted.t", follow_symlinks=False)
    check(read(d + "/large") == _LARGE)


def on_hidden_mark(d):
    """Applications can neither see nor set the mark (D1); the plain file system has no opinion."""
    if not os.path.ismount(os.path.dirname(d)):
        return
    for name in ("small", "large", "sub"):
        fails(errno.ENODATA, os.getxattr, d + "/" + name, "trusted.dmm")
        try:
            os.setxattr(d + "/" + name, "trusted.dmm", b"x")
            raise Failed("an application could set the mark")
        except OSError as error:
            check(error.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENODATA), error)


def on_acls(d):
    sh("setfacl -m u:1000:rw,g:2000:r small && setfacl -d -m u:1000:rwx sub && setfacl -m u:1001:rx sub", cwd=d)
    out = sh("getfacl -p -n small sub", cwd=d)
    for wanted in ("user:1000:rw-", "group:2000:r--", "default:user:1000:rwx", "user:1001:r-x"):
        check(wanted in out, wanted, "is missing in", out)
    os.mkdir(d + "/sub/inherits")
    write(d + "/sub/inherits/file", b"")
    out = sh("getfacl -p -n sub/inherits sub/inherits/file", cwd=d)
    check("default:user:1000:rwx" in out and out.count("user:1000:rwx") >= 2, "not inherited:", out)
    os.chmod(d + "/small", 0o640)
    check("mask::r--" in sh("getfacl -p -n small", cwd=d), "chmod must change the mask")
    _python("import os,sys\nos.setgroups([]);os.setgid(9);os.setuid(1000)\nopen(sys.argv[1]+'/small','rb').read()\n"
            "try: open(sys.argv[1]+'/small','r+b'); sys.exit('mask ignored')\nexcept PermissionError: pass\n", d)
    sh("setfacl -b small && setfacl -k -b sub", cwd=d)


def on_tmpfile(d):
    try:
        fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        # "where the kernel allows": FUSE before Linux 6.2 does not.
        check(error.errno == errno.EOPNOTSUPP, error)
        write(d + "/from tmpfile", b"temporary")
        return
    os.write(fd, b"temporary")
    check(os.fstat(fd).st_nlink == 0)
    directory = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    sysx.link_fd(fd, directory, "from tmpfile")
    os.close(directory)
    os.close(fd)
    check(read(d + "/from tmpfile") == b"temporary")
    os.chmod(d + "/from tmpfile", 0o644)


def on_locks(d):
    """Between processes: record locks, flock, open-file-description locks; blocking ones wait and can be interrupted."""
    holder = ("import fcntl,sys,struct\nf=open(sys.argv[1],'r+b')\n"
              "{'lockf':lambda:fcntl.lockf(f,fcntl.LOCK_EX,100,50),'flock':lambda:fcntl.flock(f,fcntl.LOCK_EX),"
              "'ofd':lambda:fcntl.fcntl(f,37,struct.pack('hhqqi4x',fcntl.F_WRLCK,0,50,100,0))}[sys.argv[2]]()\nprint('locked',flush=True)\nsys.stdin.read()\n")
    for name in ("small", "large"):
        for kind in ("lockf", "flock", "ofd"):
            path = d + "/" + name
            with subprocess.Popen([sys.executable, "-c", holder, path, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
                check(other.stdout.readline() == b"locked\n", kind, "cannot lock", name)
                with open(path, "r+b") as f:
                    def attempt(flags):
                        if kind == "flock":
                            fcntl.flock(f, fcntl.LOCK_EX | flags)
                        else:
                            fcntl.lockf(f, fcntl.LOCK_EX | flags, 10, 60)
                    try:
                        attempt(fcntl.LOCK_NB)
                        raise Failed("%s of %s does not exclude" % (kind, name))
                    except OSError as error:
                        check(error.errno in (errno.EAGAIN, errno.EACCES), error)
                    waiter = Background(attempt, 0)
                    time.sleep(0.15)
                    check(waiter.alive(), "a blocking", kind, "did not wait")
                    other.stdin.close()
                    waiter.join(10)
    # A blocked lock ends with a signal.
    with open(d + "/small", "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        blocked = subprocess.Popen([sys.executable, "-c", "import fcntl,sys\nf=open(sys.argv[1],'r+b')\nprint('go',flush=True)\nfcntl.lockf(f,fcntl.LOCK_EX)", d + "/small"],
                                   stdout=subprocess.PIPE)
        blocked.stdout.readline()
        time.sleep(0.15)
        blocked.kill()
        blocked.wait(10)
        blocked.stdout.close()


def on_appenders(d):
    """Concurrent O_APPEND writers lose nothing."""
    def append(who):
        fd = os.open(d + "/other", os.O_WRONLY | os.O_APPEND)
        for _ in range(200):
            os.write(fd, b"%03d\n" % who)
        os.close(fd)
    threads = [threading.Thread(target=append, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lines = read(d + "/other").splitlines()
    check(len(lines) == 801 and all(lines.count(b"%03d" % i) == 200 for i in range(4)), "%d lines" % len(lines))
    write(d + "/other", b"same on both sides\n")


def on_listing(d):
    """readdir while names come and go, seekdir, '.' and '..'."""
    for i in range(500):
        write(d + "/sub/n%d" % i, b"")
    seen = set()
    with os.scandir(d + "/sub") as entries:
        for number, entry in enumerate(entries):
            check(entry.name not in seen, entry.name, "twice")
            seen.add(entry.name)
            if number < 100 and entry.name.startswith("n"):
                os.unlink(entry.path)
    check({"0", "1", "2"} <= seen and len(seen) == 503, len(seen), "names")
    out = sh("ls -f sub | head -2 | sort", cwd=d)
    check(set(sh("ls -fa sub", cwd=d).split()) >= {".", ".."}, out)
    check(os.stat(d + "/sub/..").st_ino == os.stat(d).st_ino)
    # Which hundred are gone depends on the file system's order.
    sh("rm -f sub/n*", cwd=d)
    check(sorted(os.listdir(d + "/sub")) == ["0", "1", "2"])
