"""Data sets as people have them: one reader each, and what the readers share.

Data sets: `nyu`, `celebamask_hq`, and `folder` (anybody's own images, described by a `manifest` and a `task_file`).
Files: `files` reads images and targets, by `headers` and `decoding` (image files), `arrays` (npy) and `raw`
(bytes and text).
The source as a whole: `paths` (where files really lie), `overlap` (of the splits), `fingerprints` (has it changed?).
"""
