"""The items of a world: columns, files, draws, and which are nearest."""
