"""What an updatable model must keep to: one small function a rule, ordered by `finetuned.spec.check`."""
