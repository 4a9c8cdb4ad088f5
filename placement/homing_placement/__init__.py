"""Which node owns which slot: the etcd client, membership, the slot table, the planner and the claims."""
