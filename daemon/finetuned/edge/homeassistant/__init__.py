"""Home Assistant finds this node by itself: what it is told of entities, in the words of its people."""
