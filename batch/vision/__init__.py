"""Looking at an image: for the CPU engine of the local server today, for checks of results later.

    decode       bytes to an upright 8-bit sRGB image       colour   sRGB, linear light, Oklab
    object_mask  the object, on a copy of 256 pixels        edge     its soft edge at full size
    backdrop     the empty backdrop, a surface              planes   arrays, boxes, small steps on planes

Rule: arrays in, arrays and figures out; nothing here imports another part of the project, keeps state, reads a file or a
clock.
"""
