# SPDX-License-Identifier: GPL-3.0-or-later
"""
Between client and NFS server: counts what really crosses the wire.

A TCP proxy that follows the record marking of ONC RPC (RFC 5531 §11) and
counts calls by procedure (NFSv3, RFC 1813) or by the decisive operation of a
compound (NFSv4.0, RFC 7530), and bytes of the server's answers.  The product's own counters
are not asked.  It can also be a bad link: see cut(), refuse and mangle.
"""
import collections
import socket
import struct
import threading

_V3 = ("null", "getattr", "setattr", "lookup", "access", "readlink", "read", "write", "create", "mkdir", "symlink", "mknod",
       "remove", "rmdir", "rename", "link", "readdir", "readdirplus", "fsstat", "fsinfo", "pathconf", "commit")
_V4 = {3: "access", 4: "close", 9: "getattr", 10: "getfh", 15: "lookup", 16: "lookupp", 18: "open", 22: "putfh", 24: "putrootfh",
       25: "read", 26: "readdir", 27: "readlink", 30: "renew", 31: "restorefh", 32: "savefh", 33: "secinfo", 35: "setclientid",
       36: "setclientid_confirm"}


class Proxy:
    """with Proxy(server.nfs_port) as p: connect clients to p.port"""

    def __init__(self, port):
        self._server = port
        self._lock = threading.Lock()
        self._calls = collections.Counter()
        self._bytes = 0
        self._sockets = set()
        self.connections = 0
        self.refuse = False		# close new connections at once
        # For connections that are made from now on: function(reply with its record mark, a bytearray) -> bytes to
        # send instead, or None: a part of it is sent and the connection cut.
        self.mangle = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def calls(self):
        """{procedure: number} so far."""
        with self._lock:
            return collections.Counter(self._calls)

    def bytes_down(self):
        """Bytes from server to client so far."""
        with self._lock:
            return self._bytes

    def reset(self):
        with self._lock:
            self._calls.clear()
            self._bytes = 0

    def cut(self):
        """All connections, now, wherever they are in their messages."""
        with self._lock:
            gone, self._sockets = self._sockets, set()
        for s in gone:
            _shut(s)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                self.connections += 1
                if self.refuse:
                    client.close()
                    continue
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:		# no server now
                client.close()
                continue
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            down = self._down_mangled if self.mangle else self._down
            threading.Thread(target=down, args=(server, client), daemon=True).start()

    def _up(self, client, server):
        pending = bytearray()
        try:
            while data := client.recv(1 << 18):
                pending += data
                while len(pending) >= 4:
                    size = 4 + (struct.unpack_from(">I", pending)[0] & 0x7fffffff)
                    if len(pending) < size:
                        break
                    name = _name(bytes(pending[4:size]))
                    with self._lock:
                        self._calls[name] += 1
                    del pending[:size]
                server.sendall(data)
        except OSError:
            pass
        _shut(client, server)

    def _down(self, server, client):
        try:
            while data := server.recv(1 << 20):
                with self._lock:
                    self._bytes += len(data)
                client.sendall(data)
        except OSError:
            pass
        _shut(client, server)

    def _down_mangled(self, server, client):
        pending = bytearray()
        try:
            while data := server.recv(1 << 20):
                with self._lock:
                    self._bytes += len(data)
                pending += data
                while len(pending) >= 4:
                    size = 4 + (struct.unpack_from(">I", pending)[0] & 0x7fffffff)
                    if len(pending) < size:
                        break
                    reply, pending = pending[:size], pending[size:]
                    mangled = self.mangle(reply)
                    if mangled is None:
                        client.sendall(reply[:len(reply) * 2 // 3])
                        raise OSError("cut")
                    client.sendall(mangled)
        except OSError:
            pass
        _shut(client, server)

    def close(self):
        self._listener.close()
        for s in list(self._sockets):
            _shut(s)
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _shut(*sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _name(call):
    """The procedure of one RPC call message."""
    try:
        _, kind, _, program, version, procedure = struct.unpack_from(">6I", call)
        if kind or program != 100003:
            return "other"
        if version == 3:
            return _V3[procedure]
        if procedure == 0:
            return "null"
        at = 24
        for _ in range(2):	# credential, verifier
            at += 8 + _padded(struct.unpack_from(">I", call, at + 4)[0])
        return _compound(call, at)
    except (struct.error, IndexError, KeyError):
        return "unreadable"


def _padded(size):
    return (size + 3) & ~3


def _compound(call, at):
    """Walks over handles and attribute bitmaps to the operation that costs something."""
    at += 4 + _padded(struct.unpack_from(">I", call, at)[0]) + 4	# tag, minor version
    count = struct.unpack_from(">I", call, at)[0]
    at += 4
    names = []
    for _ in range(count):
        name = _V4.get(struct.unpack_from(">I", call, at)[0], "unknown")
        names.append(name)
        at += 4
        if name in ("putfh", "lookup"):
            at += 4 + _padded(struct.unpack_from(">I", call, at)[0])
        elif name == "getattr":
            words = struct.unpack_from(">I", call, at)[0]
            if not words or not struct.unpack_from(">I", call, at + 4)[0] & 2:
                names[-1] = "fsstat"	# asks for no type of object: about the file system
            at += 4 + 4 * words
        elif name == "access":
            at += 4
        elif name not in ("putrootfh", "getfh", "savefh", "restorefh", "lookupp", "readlink"):
            break
    return next((n for n in names if n not in ("putfh", "putrootfh", "getfh", "savefh", "restorefh", "getattr", "access")),
                "getattr" if "getattr" in names else names[0])
