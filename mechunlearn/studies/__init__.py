"""What uses audits: validation on models of known truth, and the paper's own protocol."""
