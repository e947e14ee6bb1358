"""``rowstamp demo``: a shop under load, its queries cached and invalidated, and a verifier that looks for stale hits.

``command`` reads the options and ``program`` runs the parts: ``database`` finds a database, ``build`` fills it with the shop of ``models``,
``mix`` runs ``reads`` and ``writes`` side by side, ``verify`` checks the hits, ``report`` prints.
"""
