"""The CPU engine: lays a texture over the object of a product image, without any model weights.

The modules, in the order an image travels:

    engine    the engine: worker processes that call render
    render    the steps of one image: read this first; decoding and finding the object are `batch.vision`
    light     folds and shading, free of prints          material  the object's own colours
    tile      a swatch that repeats without a seam       drape     bent along the form
    hints     plain wishes in the prompt                 finish    shaded in linear light, composited
    frame     the requested aspect ratio                 encode    image to bytes

Rule: `render` and what it calls import `batch.vision` and what an engine gets (`engines.base`), keep no state, read no file
and no clock.
"""
