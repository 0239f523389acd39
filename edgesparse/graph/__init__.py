"""What the stages see of a model in normal form: how its values lie in memory, where its weights came from."""
