"""The drawn site: camera frames and alarm texts with ground truth, for the demo, for training and for tests.

Needs numpy and OpenCV only and imports nothing else of this project. Deterministic by seed: equal arguments give
equal bytes, and the global random state is neither read nor written.
"""

from stream_app.drawn_site.camera import Camera, Zone
from stream_app.drawn_site.samples import Row, sample
from stream_app.drawn_site.schedule import Incident, Report, Schedule, Site
from stream_app.drawn_site.sheet import contact_sheet
from stream_app.drawn_site.story import LABELS, LOOKALIKES, QUIET, VAGUE, Act, label_vector

__all__ = [
    "LABELS",
    "LOOKALIKES",
    "QUIET",
    "VAGUE",
    "Act",
    "Camera",
    "Incident",
    "Report",
    "Row",
    "Schedule",
    "Site",
    "Zone",
    "contact_sheet",
    "label_vector",
    "sample",
]
