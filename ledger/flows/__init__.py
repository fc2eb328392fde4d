"""Library flows: sign, notarise, finalise, send and resolve transactions, exchange identities."""
