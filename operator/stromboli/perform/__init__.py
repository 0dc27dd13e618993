"""What is done to the node: launching an attempt, taking away what has no owner. Decides nothing."""
