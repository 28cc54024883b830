"""Peers: other programs that do the same work, each as its friends would set it up."""
