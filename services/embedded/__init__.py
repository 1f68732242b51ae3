"""Real servers that ``gantry up`` brings with it, and the supervision that keeps them alive."""
