"""The register of claims: what the papers and these pages state, whether it holds, and the test that shows it."""
