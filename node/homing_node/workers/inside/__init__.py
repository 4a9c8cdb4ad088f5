"""What runs inside a worker's jail, and the codecs that its node shares with it."""
