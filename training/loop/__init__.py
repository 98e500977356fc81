"""The steps of a training: what is drawn, the losses of a step, its compilation, and what happens around the steps."""
