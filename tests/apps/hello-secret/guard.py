# SPDX-License-Identifier: LGPL-2.1-or-later
"""Says whether the event is the secret "token", byte for byte: curl -H 'Content-Type: text/plain' -d guess
http://localhost:8080/invoke/hello-secret/python"""

import hmac
import os


def check(event, context):
    # Read for each event: it may have been set anew.
    with open(os.environ["CREDENTIALS_DIRECTORY"] + "/token", "rb") as file:
        return hmac.compare_digest(file.read(), event)
