"""The one loop that owns all state: sightings in, published files out.

`loop` waits and hands out, `waiting` holds the files that settle or queue, `working` those that a worker has in hand,
`finishing` turns a worker's result into an outcome. All of it runs in one thread; decisions are made in `rules`. Must
not look at pixels, nor know how a rename is made durable.
"""

from faceblurd.pipeline.files import Named, Parts, Patience, Remedies, RootPlan
from faceblurd.pipeline.loop import Pipeline

__all__ = ["Named", "Parts", "Patience", "Pipeline", "Remedies", "RootPlan"]
