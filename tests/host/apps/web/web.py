# SPDX-License-Identifier: LGPL-2.1-or-later
import base64
import hashlib
import hmac
import json


def body_of(event):
    body = event.get("body", "")
    return base64.b64decode(body) if event["isBase64Encoded"] else body.encode()


def event(event, context):
    return event


def sign(event, context):
    """Gives the bytes back that came, and says what their signature is."""
    body = body_of(event)
    return {"statusCode": 200, "isBase64Encoded": True, "body": base64.b64encode(body).decode(),
            "headers": {"Content-Type": "application/octet-stream",
                        "X-Signature": hmac.new(b"secret", body, hashlib.sha256).hexdigest()}}


def say(event, context):
    """What the body says, literally."""
    return json.loads(body_of(event) or b'"latest"')
