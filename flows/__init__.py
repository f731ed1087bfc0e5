"""The middle: windows, rules and alerts as pure steps, and the programs that run them."""
