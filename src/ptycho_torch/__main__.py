"""`python -m ptycho_torch` is `ptycho-torch`."""

from ptycho_torch.cli import main

main()
