"""What lets an application written for Cloudflare's Python Workers run unchanged.

`modules/` is on the import path of a worker, behind the application's own files: `workers`, `js` and `pyodide.ffi` are
found there. They are a thin layer over `homing`: `membrane.py` gives its objects the names that JavaScript has.
"""

from __future__ import annotations

import os.path

from homing.objects import Env

MODULES = os.path.join(os.path.dirname(__file__), "modules")
"""The folder that is put on the import path."""

ENV = Env()
"""`workers.env`: variables while the application is imported, every binding afterwards."""
