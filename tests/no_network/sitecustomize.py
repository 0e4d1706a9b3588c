"""On PYTHONPATH, cuts a Python program and its children off from the network, writes down who asked
for it, and lets the machine have the name in HOSTNAME: Python imports this by itself. Sockets within
the machine's file system stay."""

import os
import platform
import socket
import sys


def refuse(name, plain):
    """Return what stands in the place of a function that turns to the network."""

    def refused(*where, **more):
        if isinstance(where[0], socket.socket) and where[0].family == socket.AF_UNIX:
            return plain(*where, **more)
        with open(os.environ["NETWORK_LOG"], "a") as log:  # noqa: PTH123 (at every start)
            print(name, [w for w in where if not isinstance(w, socket.socket)], sys.argv, file=log)
        raise OSError("the network is cut off")

    return refused


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse(name, getattr(socket.socket, name)))
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse(name, getattr(socket, name)))
host, real = os.environ["HOSTNAME"], os.uname()
socket.gethostname = socket.getfqdn = platform.node = lambda *_: host
os.uname = lambda: os.uname_result((real[0], host, *real[2:]))
