"""How much of a cache may be taken: shares of its bytes, by what happens to the rest."""

HELD = 0.8
"""By what is to be found there again, when little else passes."""

SHARED = 0.5
"""By what is to be found there again, between all else that passes."""

FITS = 0.75
"""By all data of a call, before some of them are fetched from beyond it."""
