"""The plugins that come with finetuned; they enter by the same entry points as anyone's."""
