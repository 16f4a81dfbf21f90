"""Playing sessions and writing them down, stoppable, with any number of workers."""
