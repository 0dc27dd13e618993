"""What an AgentImage goes through: it is provided on the node, reported, and removed if its object asked for that."""
