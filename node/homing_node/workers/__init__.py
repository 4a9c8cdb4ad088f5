"""The workers of a node: their jails, the processes in them, the pool, and (`inside`) what runs there."""
