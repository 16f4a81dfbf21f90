"""What several objectives share: values that they learn, ratios that they bound."""
