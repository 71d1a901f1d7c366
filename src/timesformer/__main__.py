"""`python -m timesformer`, and so `torchrun -m timesformer train ...`."""

from timesformer.cli.main import main

main()
