# SPDX-License-Identifier: LGPL-2.1-or-later
"""A webhook's receiver, written as for AWS API Gateway or a Lambda function URL (payload format 2.0).

    body='{"ref": "main"}'
    curl -d "$body" -H "X-Hub-Signature-256: sha256=$(printf %s "$body" | openssl sha256 -hmac 'change me' -r | cut -c-64)" \
         http://localhost:8080/web/webhook/hooks/sand
"""

import base64
import hashlib
import hmac
import json
import os

SECRET = os.environ["SECRET"].encode()


def answer(status, **members):
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(members)}


def receive(event, context):
    # The signature is of the bytes that were sent: they are what there is to check before anything is parsed.
    body = event.get("body", "")
    body = base64.b64decode(body) if event["isBase64Encoded"] else body.encode()
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, event["headers"].get("x-hub-signature-256", "")):
        return answer(401, message="The signature is not ours.")
    repository = event["pathParameters"]["repository"]
    print(f"a message of {len(body)} bytes for {repository}")
    return answer(202, repository=repository, bytes=len(body))
