"""The same work on Ray: by several processes, on this machine or on many."""
