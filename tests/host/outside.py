#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rest of the world: outside.py DIRECTORY serves, on all addresses, HTTP on 8000, HTTPS on 8443 (key and certificate
DIRECTORY/outside.pem), and takes UDP on 9999, whose texts it appends to DIRECTORY/received; and names, as --dns does.

outside.py --dns ADDRESS... answers what is asked of ADDRESS: outside.test has the addresses of the world."""

import http.server
import os
import socket
import ssl
import struct
import sys
import threading

ADDRESSES = {1: socket.inet_pton(socket.AF_INET, "192.0.2.2"), 28: socket.inet_pton(socket.AF_INET6, "2001:db8:1::2")}
NAME = b"\x07outside\x04test\x00"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = f"hello {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def udp_socket(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    return s


def answer_names(address):
    s = udp_socket(address, 53)
    while True:
        query, peer = s.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        kind = struct.unpack("!H", question[-4:-2])[0]
        known = question[:-4].lower() == NAME
        record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(ADDRESSES[kind])) + ADDRESSES[kind] \
            if known and kind in ADDRESSES else b""
        flags = 0x8180 if known else 0x8183
        s.sendto(query[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0) + question + record, peer)


def take_texts(path):
    s = udp_socket("::", 9999)
    while True:
        text, _ = s.recvfrom(4096)
        with open(path, "ab") as file:
            file.write(text + b"\n")


def main():
    threads = []
    if sys.argv[1] == "--dns":
        threads += [threading.Thread(target=answer_names, args=(a,)) for a in sys.argv[2:]]
    else:
        plain, secure = Server(("::", 8000), Handler), Server(("::", 8443), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(sys.argv[1], "outside.pem"))
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        threads += [threading.Thread(target=s.serve_forever) for s in (plain, secure)]
        threads += [threading.Thread(target=answer_names, args=(a,)) for a in ("192.0.2.2", "2001:db8:1::2")]
        threads.append(threading.Thread(target=take_texts, args=(os.path.join(sys.argv[1], "received"),)))
    for thread in threads:
        thread.start()


main()
