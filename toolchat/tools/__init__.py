"""From tools.yaml to callables: loading, schemas, checking, running."""
