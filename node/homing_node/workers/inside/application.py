"""The application: its classes, the methods that may be called, and the bindings that it is given."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from inspect import isclass
from types import FunctionType, ModuleType
from typing import Any

from homing import compat
from homing.bindings.assets import Assets, Site
from homing.bindings.cron import CRON_CLASS, ScheduledController, cron_object
from homing.bindings.d1 import D1_CLASS, D1Database, D1Object
from homing.bindings.kv import KV_CLASS, KvNamespace, KvShard
from homing.bindings.loader import WorkerLoader
from homing.bindings.workflow_object import WorkflowKind, workflow_objects
from homing.bindings.workflow_rules import STEPS_DEFAULT
from homing.bindings.workflows import WORKFLOW_CLASS, Workflow
from homing.compat import outbound
from homing.compat.unsupported import Unsupported
from homing.ids import name_jurisdictions
from homing.objects import DurableObject, DurableObjectState, Env, ExecutionContext, WorkerEntrypoint
from homing.stubs import Caller, DurableObjectNamespace
from homing.workflows import WorkflowEntrypoint
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.services import services_of


class Application:
    """What the main module defines.

    Args:
        module: the application's main module.
        caller: takes the calls of stubs.
        bindings: of `workers.app_bindings`.
    """

    def __init__(self, module: ModuleType, caller: Caller, bindings: Mapping[str, Any]) -> None:
        self.classes: dict[str, ObjectClass] = {}
        self.default: ObjectClass | None = None
        flows: dict[str, ObjectClass] = {}
        for value in vars(module).values():
            if not isclass(value) or vars(value).get("homing_base"):
                continue
            if issubclass(value, DurableObject):
                self._add(value)
            elif issubclass(value, WorkerEntrypoint) and value.__name__ == "Default":
                self.default = ObjectClass(value)
            elif issubclass(value, WorkflowEntrypoint):
                flows[value.__name__] = ObjectClass(value)
        on_fetch = vars(module).get("on_fetch")
        if self.default is None and isinstance(on_fetch, FunctionType):
            self.default = ObjectClass(importlib.import_module("workers").entrypoint_of(on_fetch))
        settings = bindings.get("site")
        self.site: Site | None = None
        if settings is not None:
            has_worker = self.default is not None and self.default.fetch is not None
            self.site = Site.in_folder(settings, has_worker=has_worker)
            self.default = self.default or ObjectClass(WorkerEntrypoint, "Default")
        objects: dict[str, str] = bindings.get("objects") or {upper_snake_case(name): name for name in self.classes}
        for name, class_name in objects.items():
            if class_name not in self.classes:
                raise ValueError(f"{class_name}, which is bound as {name}, is no DurableObject of {module.__name__}")
        spaces: dict[str, dict[str, Any]] = bindings.get("kv") or {}
        if spaces:
            self.classes[KV_CLASS] = ObjectClass(KvShard, KV_CLASS)
        databases: dict[str, dict[str, Any]] = bindings.get("d1") or {}
        if databases:
            self.classes[D1_CLASS] = ObjectClass(D1Object, D1_CLASS)
        self._add_crons(bindings.get("crons") or [], module)
        workflows = _workflows(bindings.get("workflows"), flows, module.__name__)
        if workflows:
            bound = [(each["name"], flows[each["class"]], each["steps_max"]) for each in workflows.values()]
            kinds = {name: WorkflowKind(flow.instance, flow.adapt, steps_max) for name, flow, steps_max in bound}
            self.classes[WORKFLOW_CLASS] = ObjectClass(workflow_objects(kinds), WORKFLOW_CLASS)
        applied = bool(bindings.get("apply_migrations"))
        self.env = Env(
            **{name: DurableObjectNamespace(caller, class_name) for name, class_name in objects.items()},
            **bindings.get("vars", {}),
            **{name: KvNamespace(caller, space["id"], space["jurisdiction"]) for name, space in spaces.items()},
            **{name: Workflow(caller, each["name"]) for name, each in workflows.items()},
            **{
                name: D1Database(caller, each["id"], each["migrations"] if applied else (), each["jurisdiction"])
                for name, each in databases.items()
            },
            **{name: Assets(self.site) for name in bindings.get("assets", ()) if self.site is not None},
            **{name: WorkerLoader(caller, name) for name in bindings.get("loaders", ())},
            **services_of(bindings.get("services") or {}, caller, self, lambda name: self._entrypoint(module, name)),
            **{name: Unsupported(f"env.{name} ({kind})") for name, kind in bindings.get("missing", {}).items()},
        )

    def _entrypoint(self, module: ModuleType, name: str) -> ObjectClass:
        """A class of entrypoints, by its name; without one the default."""
        if name in ("", "default", "Default"):
            if self.default is None:
                raise ValueError(f"{module.__name__} has no Default, which is bound as a service")
            return self.default
        found = vars(module).get(name)
        if not isclass(found) or not issubclass(found, WorkerEntrypoint):
            raise ValueError(f"{name}, which is bound as a service, is no WorkerEntrypoint of {module.__name__}")
        return ObjectClass(found)

    def _add(self, make: type[DurableObject]) -> None:
        known = self.classes.get(make.__name__)
        if known is not None and known.make is not make:
            raise ValueError(f"two classes of objects are named {make.__name__}")
        self.classes[make.__name__] = ObjectClass(make)

    def _add_crons(self, crons: list[str], module: ModuleType) -> None:
        default = self.default
        if not crons:
            return
        if default is None or default.scheduled is None:
            raise ValueError(f"there are cron triggers, but the Default of {module.__name__} has no method `scheduled`")
        scheduled = default.scheduled

        def run(controller: ScheduledController, ctx: DurableObjectState) -> Any:
            context = ExecutionContext(ctx)
            given = (controller, self.env, context)[: scheduled.__code__.co_argcount - 1]
            return scheduled(default.instance(context, self.env), *map(default.adapt, given))

        self.classes[CRON_CLASS] = ObjectClass(cron_object(crons, run), CRON_CLASS)

    def summary(self) -> dict[str, Any]:
        """What READY says."""
        return {
            "classes": {name: sorted(kind.methods) for name, kind in self.classes.items()},
            "default": self.default is not None,
        }


def _workflows(bound: Mapping[str, Any] | None, found: Mapping[str, ObjectClass], module: str) -> Mapping[str, Any]:
    """The workflows that are bound; where the configuration names none, each under its class's own name."""
    if bound is None:
        return {upper_snake_case(name): {"name": name, "class": name, "steps_max": STEPS_DEFAULT} for name in found}
    for name, each in bound.items():
        if each["class"] not in found:
            raise ValueError(f"{each['class']}, which is bound as {name}, is no WorkflowEntrypoint of {module}")
    return bound


def load(folder: str, main: str, caller: Caller, bindings: Mapping[str, Any], packages: str = "") -> Application:
    """Import an application.

    Args:
        folder: where its modules are; it comes first on the path.
        packages: where those that it depends on are, or empty; they come last, behind what homing brings, so that none
            of them stands in for a module of homing or for `workers`.
        main: the name of its main module; empty: it has none, and static assets are all there is.
        caller, bindings: see `Application`.

    Raises:
        BaseException: whatever importing the application raises.
    """
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if compat.MODULES not in sys.path:
        sys.path.append(compat.MODULES)
    if packages and packages not in sys.path:
        sys.path.append(packages)
    name_jurisdictions(bindings.get("jurisdictions") or ())
    outbound.prepare(packages)
    vars(compat.ENV).update(bindings.get("vars", {}))
    module = importlib.import_module(main) if main else ModuleType("assets")
    application = Application(module, caller, bindings)
    vars(compat.ENV).update(vars(application.env))
    return application


def upper_snake_case(name: str) -> str:
    """The name under which a class is bound.

    Example:
        >>> upper_snake_case("ChatRoom"), upper_snake_case("HTTPCache2")
        ('CHAT_ROOM', 'HTTP_CACHE2')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()
