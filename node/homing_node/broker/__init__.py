"""The node-side end of what object code may reach: it does the I/O, and says no by default."""
