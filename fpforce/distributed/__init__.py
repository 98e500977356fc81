"""Work that is cut into parts, done here one part after the other or on many machines by Dask.

It knows nothing of physics: a part is a function with its arguments, which can be called again after a loss and then
goes on from what it left. Simulations and samples cut themselves into parts above this room, so that it stands below
them all. Dask is imported where a cluster is asked for, and nowhere else.
"""
