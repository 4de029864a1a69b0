"""Runs the calls that standard input names, a JSON document in each line, and prints their outcomes as such lines."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def run(create: Callable[[str, str, str | None], str]) -> None:
    """`create` takes the URL of the service, a name, and a key if it is not the SDK that makes one."""

    def outcome(line: str) -> str:
        call = json.loads(line)
        try:
            id = create(call["url"], call["name"], call["key"])
        except Exception as error:
            return json.dumps({"name": call["name"], "error": type(error).__name__})
        return json.dumps({"name": call["name"], "id": id})

    with ThreadPoolExecutor(16) as pool:
        for printed in pool.map(outcome, sys.stdin.read().splitlines()):
            print(printed)
