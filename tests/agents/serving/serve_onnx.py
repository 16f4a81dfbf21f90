"""A shop's server: onnxruntime, NumPy, and what the model says of itself."""

import onnxruntime

from offline_data import ServingSpace, Visit

session = onnxruntime.InferenceSession("policy.onnx")
serving = ServingSpace.of_metadata(session.get_modelmeta().custom_metadata_map)
visits = [Visit(["A-17", ("00123", {"cart": 1.0})], step=2, context={"age": 31}), Visit(context={"age": None})]
slates = serving.ids_of(session.run(["slate"], serving.observe(visits))[0])
print(slates.tolist())
