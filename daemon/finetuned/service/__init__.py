"""What lives as long as the daemon: ledger, store, ingestion, tasks, processes."""
