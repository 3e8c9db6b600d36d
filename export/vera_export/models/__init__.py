"""The networks, one file each: plain ``nn.Module`` classes built from a frozen config dataclass."""
