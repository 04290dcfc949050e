# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps a secret in its state; the adversary is after it."""


def keep(event, context):
    with open("/state/secret", "w") as file:
        file.write("SECRET-OF-THE-VICTIM")
    return "kept"
