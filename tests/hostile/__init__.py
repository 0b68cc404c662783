"""Attacks on a real sidecar that reads at full rate: what another client, the reading and the memory notice of them.

A row of the table is made by `Stage.suffer`, from an `Attack` that a module has in its `ATTACKS`.
"""
