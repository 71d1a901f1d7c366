"""TimeSformer and the models that it is compared with, behind one protocol: `architectures` has all of them."""
