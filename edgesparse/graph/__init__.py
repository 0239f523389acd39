"""A read-only view of a model in normal form: its ops, how its values lie in memory, where its weights came from."""
