"""Bindings that are objects underneath: what an application is given in `env`, and the objects that keep it."""
