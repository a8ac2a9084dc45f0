"""Connects to the relay's socket as another user and prints the answer. stranger.py SOCKET UID"""

import os
import socket
import sys

os.setgroups([])
os.setresgid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
os.setresuid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.settimeout(30)
try:
    client.connect(sys.argv[1])
except PermissionError:
    print("kept out")
else:
    try:
        print(f"told {client.recv(4096)!r}")
    except ConnectionResetError:
        print("told b''")
