"""What an install would write: computed from what is there, without touching anything."""

from mts1b_deploy.plan.change import Action, FileChange
from mts1b_deploy.plan.make import Plan, make_plan
from mts1b_deploy.plan.request import Request

__all__ = ["Action", "FileChange", "Plan", "Request", "make_plan"]
