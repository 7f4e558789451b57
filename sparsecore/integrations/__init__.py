"""Training loops of others: Hugging Face Trainer and models, Lightning. Each library is imported by its own module."""
