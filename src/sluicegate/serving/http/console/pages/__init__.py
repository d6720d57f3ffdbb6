"""The pages of the console, in the order of their entries in the navigation."""

from sluicegate.serving.http.console.page import Page
from sluicegate.serving.http.console.pages import approval, inbox
from sluicegate.serving.http.console.pages.operating import evaluations, incidents, router, switches, workflows
from sluicegate.serving.http.console.pages.records import costs, listing

__all__ = ["PAGES"]

PAGES: tuple[Page, ...] = (
    inbox.PAGE,
    approval.PAGE,
    listing.PAGE,
    costs.PAGE,
    workflows.PAGE,
    router.PAGE,
    evaluations.PAGE,
    incidents.PAGE,
    switches.PAGE,
)
