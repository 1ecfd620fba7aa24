"""The loop that both Python agents share: JSON lines in, JSON lines out (see ../README.md)."""

import json
import sys


def text(raw):
    return None if raw is None else raw.decode()


def raw(value):
    return None if value is None else value.encode()


def serve(agent):
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        try:
            answer = getattr(agent, operation)(**request) or {}
        except Exception as error:  # whatever the library throws is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
