"""MTS1B's shared vocabulary: payload models of every event and the registry of subjects they travel on.

Depends on pydantic alone, so that every service can afford to import it. Import models from the module
named after their noun (``mts1b_foundation.orders``) and subjects from ``mts1b_foundation.subjects``.
"""

__version__ = "0.1.0"
