"""What pruning costs in accuracy, and what training brings back."""
