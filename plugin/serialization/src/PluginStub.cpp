/**
 * libFPForcePlugin.so, which OpenMM loads from its plugin folder. It is empty, but linked to libFPForce.so, whose loading
 * makes FPForce known to OpenMM's serializer: Systems in XML then load in programs that know nothing of fpforce.
 */
