"""How fast this machine is: one view, a training step, decoding, and the cost of every scheme."""
