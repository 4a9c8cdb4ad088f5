"""The stateless public process: HTTP and gRPC in, frames on one stream to each node out."""
