"""Generated from `proto/`: the public gRPC surface of a gateway."""
