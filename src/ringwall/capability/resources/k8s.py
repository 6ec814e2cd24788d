"""Objects of Kubernetes: ``namespace/kind/name``, where a kind is its plural and its group: ``deployments.apps``.

Objects of no namespace have ``-`` for it: ``-/nodes/n1``. Short, singular and CamelCase names of the built-in kinds
are understood; other kinds are written as their API has them (``widgets.acme.example``).
"""

from __future__ import annotations

import string
from typing import Final

from ringwall import regex
from ringwall.capability.resources.text import Canonical, bad, clean, plainly

MAX_TEXT: Final = 600
MAX_NAME: Final = 253  # a DNS subdomain, as most names must be
MAX_LABEL: Final = 63  # of a namespace
NO_NAMESPACE: Final = "-"
_WHAT: Final = "k8s"
_LOWER: Final = frozenset(string.ascii_lowercase + string.digits + "-")
_VERSION: Final = regex.text(r"v[0-9]+((alpha|beta)[0-9]+)?")
_NAME: Final = frozenset(string.ascii_letters + string.digits + "-._:")  # roles have colons and capitals

# plural.group: singular and short names. Built-in kinds (kubectl api-resources, Kubernetes 1.35).
_IN_NAMESPACE: Final = {
    "pods": "pod po", "services": "service svc", "configmaps": "configmap cm", "secrets": "secret",
    "endpoints": "endpoint ep", "events": "event ev", "limitranges": "limitrange limits",
    "persistentvolumeclaims": "persistentvolumeclaim pvc", "podtemplates": "podtemplate",
    "replicationcontrollers": "replicationcontroller rc", "resourcequotas": "resourcequota quota",
    "serviceaccounts": "serviceaccount sa", "controllerrevisions.apps": "controllerrevision",
    "daemonsets.apps": "daemonset ds", "deployments.apps": "deployment deploy",
    "replicasets.apps": "replicaset rs", "statefulsets.apps": "statefulset sts",
    "horizontalpodautoscalers.autoscaling": "horizontalpodautoscaler hpa", "cronjobs.batch": "cronjob cj",
    "jobs.batch": "job", "leases.coordination.k8s.io": "lease",
    "endpointslices.discovery.k8s.io": "endpointslice", "ingresses.networking.k8s.io": "ingress ing",
    "networkpolicies.networking.k8s.io": "networkpolicy netpol", "poddisruptionbudgets.policy":
    "poddisruptionbudget pdb", "rolebindings.rbac.authorization.k8s.io": "rolebinding",
    "roles.rbac.authorization.k8s.io": "role", "csistoragecapacities.storage.k8s.io": "csistoragecapacity",
}
_OF_CLUSTER: Final = {
    "nodes": "node no", "namespaces": "namespace ns", "persistentvolumes": "persistentvolume pv",
    "componentstatuses": "componentstatus cs",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": "mutatingwebhookconfiguration",
    "validatingwebhookconfigurations.admissionregistration.k8s.io": "validatingwebhookconfiguration",
    "customresourcedefinitions.apiextensions.k8s.io": "customresourcedefinition crd crds",
    "apiservices.apiregistration.k8s.io": "apiservice",
    "certificatesigningrequests.certificates.k8s.io": "certificatesigningrequest csr",
    "ingressclasses.networking.k8s.io": "ingressclass", "runtimeclasses.node.k8s.io": "runtimeclass",
    "clusterrolebindings.rbac.authorization.k8s.io": "clusterrolebinding",
    "clusterroles.rbac.authorization.k8s.io": "clusterrole",
    "priorityclasses.scheduling.k8s.io": "priorityclass pc", "csidrivers.storage.k8s.io": "csidriver",
    "csinodes.storage.k8s.io": "csinode", "storageclasses.storage.k8s.io": "storageclass sc",
    "volumeattachments.storage.k8s.io": "volumeattachment",
}
# The same objects under a second group.
_SECOND: Final = {"events.events.k8s.io": "events", "event.events.k8s.io": "events"}


def _alias(kind: str, names: str) -> dict[str, str]:
    plural, _, group = kind.partition(".")
    return {one: kind for word in (plural, *names.split()) for one in (word, f"{word}.{group}" if group else word)}


_KINDS: Final = {alias: kind for table in (_IN_NAMESPACE, _OF_CLUSTER) for full, names in table.items()
                 for alias, kind in _alias(full, names).items()} | _SECOND


def canonical(text: str) -> Canonical:
    """Give the one spelling of an object. Raises BadInput, also for subresources such as ``pods/exec``."""
    plainly(clean(text, _WHAT, MAX_TEXT), _WHAT, never="*\\")
    parts = text.split("/")
    if len(parts) != 3:
        raise bad(_WHAT, text, "is not namespace/kind/name")
    namespace, kind, name = parts
    kind = _kind(kind, text)
    _check_namespace(namespace, kind, text)
    if not 0 < len(name) <= MAX_NAME or not set(name) <= _NAME or name in {".", ".."}:
        raise bad(_WHAT, text, "has a name that no object can have")
    return Canonical(f"{namespace}/{kind}/{name}", (f"{namespace}/", f"{kind}/", name))


def _kind(kind: str, text: str) -> str:
    if kind.isascii() and (found := _KINDS.get(kind.lower())):
        return found
    plural, *group = kind.split(".")
    if len(group) < 2 or not all(part and set(part) <= _LOWER for part in (plural, *group)):
        raise bad(_WHAT, text, "has a kind that is not built in; write plural.group, as in widgets.acme.example")
    builtin = f"{plural}.{group[-1]}" in _KINDS or (plural in _KINDS and group[-2:] == ["k8s", "io"])
    if builtin or _VERSION.fullmatch(group[0]):
        raise bad(_WHAT, text, "has another version or group of a built-in kind; leave it out")
    return kind


def _check_namespace(namespace: str, kind: str, text: str) -> None:
    if kind in _OF_CLUSTER and namespace != NO_NAMESPACE:
        raise bad(_WHAT, text, f"has a namespace, and {kind} have none; write -/{kind}/NAME")
    if kind in _IN_NAMESPACE and namespace == NO_NAMESPACE:
        raise bad(_WHAT, text, f"has no namespace, and {kind} have one")
    if namespace != NO_NAMESPACE and (not 0 < len(namespace) <= MAX_LABEL or not set(namespace) <= _LOWER
                                      or "-" in {namespace[0], namespace[-1]}):
        raise bad(_WHAT, text, "has no plain lower-case namespace")


def pattern(text: str) -> tuple[Canonical, bool]:
    """``ns/kind/name`` is one object, ``ns/kind/`` all of a kind, ``ns/`` all of a namespace. Raises BadInput."""
    if not text.endswith("/"):
        return canonical(text), False
    if text.count("/") == 2:
        found = canonical(f"{text}x")
        return Canonical(found.id[:-1], found.key[:-1]), True
    namespace = clean(text, _WHAT, MAX_TEXT)[:-1]
    _check_namespace(namespace, "", text)
    if namespace == NO_NAMESPACE:
        raise bad(_WHAT, text, "names everything that has no namespace; name the kinds")
    return Canonical(text, (text,)), True
