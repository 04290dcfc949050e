# SPDX-License-Identifier: LGPL-2.1-or-later
"""Greets whoever the event names: curl -d '{"name": "Ada"}' http://localhost:8080/invoke/hello-python/hello"""


def handle(event, context):
    name = event.get("name", "world")
    print(f"greeting {name}")  # to the journal: sandctl logs hello-python
    return {"message": f"Hello, {name}!", "function": context.function_name}
