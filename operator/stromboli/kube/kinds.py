"""The kinds of objects that are read and written, for the paths of plain.py. lightkube takes one class of each."""

from __future__ import annotations

from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from stromboli.naming import GROUP, VERSION

AgentRun = create_namespaced_resource(GROUP, VERSION, "AgentRun", "agentruns")
AgentSession = create_namespaced_resource(GROUP, VERSION, "AgentSession", "agentsessions")
AgentImageKind = create_namespaced_resource(GROUP, VERSION, "AgentImage", "agentimages")
AgentPolicy = create_global_resource(GROUP, VERSION, "AgentPolicy", "agentpolicies")
Namespace = create_global_resource("", "v1", "Namespace", "namespaces")
ConfigMap = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
Secret = create_namespaced_resource("", "v1", "Secret", "secrets")
Event = create_namespaced_resource("", "v1", "Event", "events")
APIService = create_global_resource("apiregistration.k8s.io", "v1", "APIService", "apiservices")
