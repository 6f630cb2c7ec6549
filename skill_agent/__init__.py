"""Off-policy learning of an embedding space of transferable skills."""
