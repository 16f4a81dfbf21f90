"""The study of estimators: cells, the policies that are judged, what is said of them, and what truth says of that."""
