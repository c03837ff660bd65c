"""The operations that networks and proximal steps are made of."""
