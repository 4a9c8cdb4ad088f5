"""A stand-in for `homing node` and `homing gateway`, to test what starts and stops them; it is no test of its own.

node: says its name, says `reloaded` at SIGHUP, leaves a child behind that would outlive it.
gateway: answers every GET with 200.
stubborn: ignores SIGTERM. crash: ends at once.
"""

import http.server
import os
import signal
import subprocess
import sys
import time


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if os.environ["STAND_IN"] == "crash" else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(kind: str) -> None:
    name = os.environ.get("HOMING_NODE_ID", kind)
    kind = os.environ.get("STAND_IN", kind) if kind == "node" else kind
    if kind == "crash":
        sys.exit("this setting is wrong")
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "gateway":
        host, port = os.environ["HOMING_LISTEN"].split(":")
        http.server.HTTPServer((host, int(port)), Answer).serve_forever()
    signal.signal(signal.SIGHUP, lambda *_: say(f"{name} reloaded"))
    child = subprocess.Popen(["sleep", "1000"])
    say(f"{name} started pid {os.getpid()} child {child.pid}")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
