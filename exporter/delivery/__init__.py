"""From what was analyzed to committed events: backlog, seals, and the three ways to send."""
