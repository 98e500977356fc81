"""The only way into OpenMM: a force field to a System, by one of the backends, and the platform it runs on."""
