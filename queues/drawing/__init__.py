"""Pictures of what the switch does, as text: sequence charts, the graph of waits, small curves.

Pure: what comes in are the answers of the switch, what goes out are SVG and mscgen. Colours are
left to the style sheet of whoever shows the picture; shapes are part of it.
"""
