"""One update task, mini-batch by mini-batch: the engine."""
