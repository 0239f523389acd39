"""Hashes of what the compiler makes: whether a change of its code changes any artifact."""
