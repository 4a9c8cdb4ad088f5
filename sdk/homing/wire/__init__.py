"""Generated from `proto/`: what the processes of a cluster say to each other."""
