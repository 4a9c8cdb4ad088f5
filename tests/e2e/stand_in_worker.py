"""What the jail's tests run in a jail: it speaks the channel's frames, and an EVENT's body is code that it executes.

The value that the code leaves in `result` is the answer; an exception is answered by its type and message.
"""

import sys

sys.path.append(f"/usr/lib/python3.{sys.version_info.minor}/site-packages")

import os
import struct
import threading
import time

import msgspec

LOCK = threading.Lock()


def send(*message):
    data = msgspec.msgpack.encode(message)
    with LOCK:
        os.write(3, struct.pack("<I", len(data)) + data)


def read(size):
    data = b""
    while len(data) < size:
        piece = os.read(3, size - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def beat():
    while True:
        time.sleep(0.2)
        send(6, 0)


def execute(code):
    names = {}
    try:
        exec(code, names)
        return ["ok", names.get("result")]
    except BaseException as error:
        return [type(error).__name__, str(error), getattr(error, "errno", None)]


def main():
    while True:
        (size,) = struct.unpack("<I", read(4))
        message = msgspec.msgpack.decode(read(size))
        if message[0] == 0:
            name = message[1]["main"]
            if name == "failing":
                send(1, "ValueError", "no such thing", "Traceback: line 1")
            elif name == "spinning":
                while True:
                    pass
            elif name == "leaving":
                os._exit(255)
            elif name == "sleeping":
                time.sleep(60)
            else:
                threading.Thread(target=beat, daemon=True).start()
                send(0, {"classes": {"Probe": ["run"]}, "default": False})
        elif message[0] == 3:
            send(2, message[1], 0, None, message[2], [[message[2], 0, execute(message[5]), 0, 0]])
        elif message[0] == 6:
            send(4, message[1])


if __name__ == "__main__":
    main()
