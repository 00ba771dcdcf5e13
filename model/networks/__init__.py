"""Classifiers as Keras networks; the only package of `model` that needs tensorflow, in all but `architectures`.

`architectures` names them, `build` makes one by name (`small` holds the small ones), `layers` finds the roles of its
layers, `graphs` runs it, `weights` stores and loads it.
"""
