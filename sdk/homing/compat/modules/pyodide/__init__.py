"""`import pyodide`: its `ffi`, as far as server code uses it."""
