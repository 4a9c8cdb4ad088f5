"""Takes calls to the owners of their objects: for gateways, and for nodes whose objects call others."""
