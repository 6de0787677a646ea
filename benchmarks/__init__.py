"""One file a claim: every figure in the README is printed by one of these, beside its baseline."""
