"""Reports as pages: one file of HTML each, which needs no other file and no network."""

from edgesparse.pages.bench import bench_page
from edgesparse.pages.explain import explain_page
from edgesparse.pages.facts import ArtifactFacts, PlannedFacts, of_artifact, of_plan
from edgesparse.pages.profile import profile_page

__all__ = [
    "ArtifactFacts",
    "PlannedFacts",
    "bench_page",
    "explain_page",
    "of_artifact",
    "of_plan",
    "profile_page",
]
