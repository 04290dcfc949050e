# SPDX-License-Identifier: LGPL-2.1-or-later
"""Uses its network, or tries to."""

import socket
import time
import urllib.request


def fetch(event, context):
    with urllib.request.urlopen(event["url"], timeout=5) as answer:
        return answer.read().decode()


def attempt(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        s.connect((host, port))


def reach(event, context):
    """Which of [HOST, PORT] take a connection."""
    reached = []
    for host, port in event["targets"]:
        try:
            attempt(host, port)
            reached.append(f"{host} {port}")
        except OSError:
            pass
    return reached


def serve(event, context):
    """Takes connections for some seconds; from whom they came."""
    peers = []
    end = time.monotonic() + event["seconds"]
    with socket.create_server(("::", event["port"]), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while (left := end - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection, peer = server.accept()
            except TimeoutError:
                break
            connection.close()
            peers.append(peer[0])
    return peers


def sockets(event, context):
    """Which kinds it gets; whose source it may claim without being anybody: IPV6_FREEBIND needs no privilege."""
    kinds = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "raw6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        "packet": (socket.AF_PACKET, socket.SOCK_DGRAM, 0),
        "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
        "tcp": (socket.AF_INET, socket.SOCK_STREAM, 0),
        "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    }
    got = []
    for name, kind in kinds.items():
        try:
            socket.socket(*kind).close()
            got.append(name)
        except OSError:
            pass
    if "claim" in event:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
            try:
                s.bind((event["claim"], 0))
                s.sendto(event["text"].encode(), (event["to"], event["port"]))
                got.append("claimed")
            except OSError:
                pass
    return got
