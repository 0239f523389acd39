"""Operators by way of TVM: import or define, schedule, and emit plain kernels."""
