"""Runs in the container: asks the API again and again, and tells how many answers were not 200.

Usage: load.py URL KEY STOP: ends when the file STOP appears, after 10 minutes at the latest; prints
{"asked": N, "failed": [[seconds since start, what], …]}.
"""

import http.client
import json
import pathlib
import sys
import threading
import time
import urllib.parse

url, key, stop = sys.argv[1:]
target = urllib.parse.urlsplit(url)
started = time.monotonic()
asked: list[int] = []
failed: list[tuple[float, str]] = []


def ask_until_stopped() -> None:
    while not pathlib.Path(stop).exists() and time.monotonic() - started < 600:
        asked.append(1)
        connection = http.client.HTTPConnection(target.netloc, timeout=60)
        try:
            connection.request("GET", target.path, headers={"X-API-Key": key})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append((time.monotonic() - started, str(answer.status)))
        except OSError as error:
            failed.append((time.monotonic() - started, repr(error)))
        finally:
            connection.close()
        time.sleep(0.01)


threads = [threading.Thread(target=ask_until_stopped) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"asked": len(asked), "failed": failed}))
