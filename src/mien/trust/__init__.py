"""What vouches for a result: an invisible mark, signed manifests, the keys, consent and who is protected."""
