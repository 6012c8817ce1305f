"""What happens to photos, and when: one coroutine a photo (`photo`), in one thread (asyncio's), which owns all state.

`daemon` starts, reloads and stops; `root` watches and scans one root; `intake` says which sightings become photos;
`turns` who is next. Decisions are made in `rules`. Must not look at pixels, nor know how a rename is made durable.
"""
