"""model.ckpt: the record of a training, and a trained energy made of it again."""
