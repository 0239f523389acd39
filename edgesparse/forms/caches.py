"""How much of a cache may be taken: shares of its bytes, by what happens to the rest."""

HELD = 0.8
"""For data that must stay until it is read again, when little else passes through."""

SHARED = 0.5
"""For data that must stay until it is read again, while everything else passes through."""

FITS = 0.75
"""For all data of a call together: more than this, and some is fetched from beyond the cache."""
