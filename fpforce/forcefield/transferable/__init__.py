"""What a force field of many molecules knows beside its weights, and how it is bound to a molecule it has never seen.

In: a model.pt trained over many molecules, and a topology. Out: the constants of that molecule (its graph, the
statistics of its distances, its prior) in the layout of a force field trained on it alone, so that no backend knows the
difference. numpy only: binding for the native plugin needs no torch.
"""
