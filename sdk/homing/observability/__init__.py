"""Logs, metrics and trace context, the same for every process of a cluster.

Not imported by what runs in a jail.
"""
