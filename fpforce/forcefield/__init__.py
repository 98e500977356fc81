"""model.pt: reading it, its wall, and binding a transferable one to a molecule; numpy only."""
