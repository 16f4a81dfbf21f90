"""Slates drawn by ranking items: kernels, and bases of behavior policies."""
