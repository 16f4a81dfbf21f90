"""The dataset on disk: columns, manifest, histories."""
