"""homing: Durable Objects on your own machines."""
