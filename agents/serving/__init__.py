"""Policies where others act: as behavior of a log, as an ONNX model."""
