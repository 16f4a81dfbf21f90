"""What an action is worth: critics, fitted Q evaluation, scores."""
